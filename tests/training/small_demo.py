"""`mmer` in a process of its own, with the small demo corpus in the place of the demo, and the
state of a training saved after every epoch:

    python -m tests.training.small_demo train mimic ...
"""

import sys

from mmer_lib import cli, corpora
from mmer_lib.corpora.demo import demo
from mmer_lib.training import loop


def small(*_, **__):
    recipe = demo.read_recipe()
    recipe["per_speaker_and_emotion"] = 4
    return demo.load(recipe, progress=False)


def main(argv):
    corpora.load = small
    loop.SAVE_EVERY = 0.0
    return cli.main(argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
