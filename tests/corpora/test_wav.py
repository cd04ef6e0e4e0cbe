"""Sound files as people have them: other encodings, other formats under the name wav, cut off."""

import numpy as np
import pytest
import soundfile

from mmer_lib.corpora.files import LOUDEST, read_wav
from mmer_lib.data import DataError


def tone(samples=4000, amplitude=0.5):
    return (amplitude * np.sin(np.arange(samples) / 20)).astype("f4")


DEPTHS = {"PCM_U8": 1e-2, "PCM_16": 1e-4, "PCM_24": 1e-6, "PCM_32": 1e-6, "FLOAT": 0, "ULAW": 2e-2}


@pytest.mark.parametrize(("encoding", "rounding"), DEPTHS.items())
@pytest.mark.parametrize("rate", [8000, 96000])
def test_every_depth_comes_as_floats_within_one(tmp_path, encoding, rounding, rate):
    soundfile.write(tmp_path / "a.wav", tone(), rate, encoding)
    samples, found = read_wav(tmp_path / "a.wav")
    assert found == rate and samples.dtype == np.float32
    np.testing.assert_allclose(samples, tone(), atol=rounding)


@pytest.mark.parametrize(("form", "error"), [("MP3", 0.05), ("OGG", 0.05), ("FLAC", 1e-4)])
def test_other_formats_named_wav_are_read_as_what_they_are(tmp_path, form, error):
    soundfile.write(tmp_path / "a.wav", tone(16000), 16000, format=form)
    samples, rate = read_wav(tmp_path / "a.wav")
    assert rate == 16000 and samples.shape == (16000,)
    assert np.sqrt(np.mean(np.square(samples - tone(16000)))) < error


def test_a_file_that_was_cut_off_is_refused_by_name_or_gives_the_samples_that_are_there(tmp_path):
    path = tmp_path / "cut.wav"
    soundfile.write(path, tone(100), 16000, "PCM_16")
    whole, (expected, _) = path.read_bytes(), read_wav(path)
    header = len(whole) - 2 * 100
    assert header == 44
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        there = (size - header) // 2
        if there > 0:  # the header still says 100
            np.testing.assert_array_equal(read_wav(path)[0], expected[:there])
        else:
            with pytest.raises(DataError, match=r"cut\.wav: (not readable as sound|empty)"):
                read_wav(path)


@pytest.mark.parametrize("amplitude", [1.0, LOUDEST])
def test_clipped_sound_and_what_goes_a_little_over_one_is_read_as_it_is(tmp_path, amplitude):
    clipped = np.clip(4 * amplitude * tone(), -amplitude, amplitude)
    soundfile.write(tmp_path / "a.wav", clipped, 16000, "FLOAT")
    np.testing.assert_array_equal(read_wav(tmp_path / "a.wav")[0], clipped)
