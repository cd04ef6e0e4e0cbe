"""Looking into models from outside."""

from mmer_lib.probes.attention import (
    alignment_error,
    attention_on_spoken_word,
    entropy,
    influence,
    overlap,
    preference,
    spoken_word,
    stacked_mean,
)
from mmer_lib.probes.hooks import record
from mmer_lib.probes.inside import (
    frame_stream,
    look_inside_mimic,
    look_inside_muse,
    part_modules,
    silenced,
    skipped,
    survey,
    without_each_word,
)
