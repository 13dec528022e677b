"""A peer that takes commands as lines of JSON on standard input, and answers each with a line on standard output."""

import asyncio
import json
import os
import sys
import traceback
import wave

# Samples a second of every recording.
RATE = 8000
# Of a line: an offer of audio and video has some kilobytes.
LONGEST = 1 << 22


async def serve(commands):
    """Runs the commands that come, one after the other: `commands` has them by name. Ends with standard input."""
    # What libraries print is no answer.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    lines = asyncio.StreamReader(limit=LONGEST)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := await lines.readline():
        command = json.loads(line)
        name = command.pop("do")
        try:
            answer = {"ok": await commands[name](**command)}
        except Exception as error:
            traceback.print_exc()
            answer = {"error": f"{name}: {type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


def write(file, samples):
    """Writes a recording: 16 bits, one channel."""
    with wave.open(file, "wb") as wav:
        wav.setnchannels(1)
        wav.setsampwidth(2)
        wav.setframerate(RATE)
        wav.writeframes(samples)
