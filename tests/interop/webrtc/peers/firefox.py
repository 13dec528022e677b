"""Headless Firefox, driven by Marionette: a page with an RTCPeerConnection; see browser.js for what it can do."""

import argparse
import asyncio
import base64
import ctypes
import http.server
import io
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading

import av
from marionette_driver.marionette import Marionette

import lines

PREFERENCES = {
    "media.navigator.permission.disabled": True,
    "media.navigator.streams.fake": True,
    "media.autoplay.default": 0,
    # Who may use the microphone has candidates of all interfaces, and their addresses are no secret: as in a call.
    "permissions.default.microphone": 1,
}
CALL = """const [name, of, done] = arguments;
peer[name](of).then((ok) => done({ ok }), (error) => done({ error: String(error) }));"""


class Page(http.server.BaseHTTPRequestHandler):
    """A secure context, as getUserMedia needs one."""

    def do_GET(self):
        scripts = (pathlib.Path(__file__).with_name(name).read_text() for name in ["browser.js", "firefox.js"])
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write(f"<!doctype html><script>{''.join(scripts)}</script>".encode())


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def die_with_parent():
    """Has the kernel end it with this process, however that ends (PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def decoded(recording):
    """The samples of a recorded file."""
    samples = bytearray()
    resampler = av.AudioResampler(format="s16", layout="mono", rate=lines.RATE)
    with av.open(io.BytesIO(recording)) as file:
        for frame in file.decode(audio=0):
            for part in resampler.resample(frame):
                samples += bytes(part.planes[0])[: 2 * part.samples]
    return samples


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--executable", required=True)
    options = parser.parse_args()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    # It is killed, and the test takes its folder away.
    profile = tempfile.TemporaryDirectory(dir=os.environ.get("PEER_FOLDER"))
    firefox = Marionette(port=free_port())
    preferences = PREFERENCES | {"marionette.port": firefox.port}
    lines_of = (f"user_pref({json.dumps(name)}, {json.dumps(value)});\n" for name, value in preferences.items())
    pathlib.Path(profile.name, "user.js").write_text("".join(lines_of))
    # Which lets its preferences be set.
    flags = ["-headless", "-marionette", "-remote-allow-system-access", "-no-remote", "-profile", profile.name]
    command = [shutil.which(options.executable), *flags]
    browser = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sys.stderr, preexec_fn=die_with_parent)
    firefox.raise_for_port(timeout=25)
    firefox.start_session()
    firefox.timeout.script = 20
    firefox.navigate(f"http://127.0.0.1:{server.server_port}/")

    def evaluate(name, of):
        answer = firefox.execute_async_script(CALL, script_args=[name, of], sandbox=None)
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer.get("ok")

    def run(name):
        async def call(**arguments):
            return await asyncio.to_thread(evaluate, name, arguments)

        return call

    async def open_call(tone=None, **more):
        firefox.set_pref("media.navigator.audio.fake_frequency", tone or 440)
        await run("open")(tone=tone, **more)

    async def record(file):
        lines.write(file, decoded(base64.b64decode(await run("recording")())))

    async def version():
        return firefox.session_capabilities["browserVersion"]

    commands = {name: run(name) for name in ["offer", "accept", "answer", "candidate", "states", "stats", "close"]}
    try:
        await lines.serve(commands | {"open": open_call, "record": record, "version": version})
    finally:
        browser.kill()
        browser.wait()


asyncio.run(main())
