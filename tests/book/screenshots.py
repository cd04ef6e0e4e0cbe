"""Full-page pictures of every page, light and dark, desktop and phone.

python tests/book/screenshots.py OUTDIR
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.book.browser import launch, open_offline, pages


def main(outdir):
    folder = Path(outdir)
    folder.mkdir(parents=True, exist_ok=True)
    with launch() as browser:
        for name in pages():
            for width in (1280, 390):
                for dark in (False, True):
                    page = open_offline(browser, name, width, dark)
                    page.wait_for_timeout(300)
                    shade = "dark" if dark else "light"
                    path = folder / f"{name.replace('/', '-')[:-5]}-{shade}-{width}.png"
                    page.screenshot(path=path, full_page=True)
                    page.context.close()
                    print(path)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
