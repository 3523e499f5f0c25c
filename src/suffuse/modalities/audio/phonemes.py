"""Spelling to sounds by espeak-ng, a program of its own (Debian: espeak-ng): the International Phonetic Alphabet, one character a
sound."""

from __future__ import annotations

import re
import shutil
import subprocess

from suffuse.errors import AskError

PROGRAM = "espeak-ng"
_MARKS = {ord(c): None for c in "ˈˌː\u200d\u0361"}
"""Stress, length and ties are left out."""
_VOICE = re.compile(r"[a-z]{2,3}(-[a-z0-9]+)*")


def phonemes(text: str, voice: str = "en-us") -> str:
    """What espeak-ng says for a text, clauses apart by commas; a text between slashes, '/hɛloʊ/', is phonemes already.

    voice: one of `espeak-ng --voices`. Raises AskError, also where the program is not installed or does not answer.
    """
    if not isinstance(text, str):
        raise AskError(f"the text to speak must be a string, not {type(text).__name__}")
    if len(text) > 2 and text[0] == text[-1] == "/":
        return text[1:-1]
    if not _VOICE.fullmatch(voice):
        raise AskError(f"'{voice}' is no voice of {PROGRAM}; write it as en-us")
    program = shutil.which(PROGRAM)
    if program is None:
        raise AskError(
            f"this model speaks phonemes, which {PROGRAM} makes of a text, and it is not installed (apt install {PROGRAM}); "
            "or give phonemes between slashes, such as /hɛloʊ/"
        )
    asked = [program, "-q", "--ipa", "-v", voice, "--stdin"]
    try:
        done = subprocess.run(asked, input=text, capture_output=True, encoding="utf-8", timeout=60, check=True)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise AskError(f"{PROGRAM} could not read the text with the voice {voice}: {error}") from None
    lines = (line.strip() for line in done.stdout.translate(_MARKS).splitlines())
    return ", ".join(line for line in lines if line)
