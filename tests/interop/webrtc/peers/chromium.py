"""Headless Chromium: a page with an RTCPeerConnection, whose audio is a tone; see browser.js for what it can do."""

import argparse
import asyncio
import base64
import pathlib
import shutil

from playwright.async_api import async_playwright

import lines

# A secure context, as getUserMedia and worklets need one; the page comes from here, not from a server.
PAGE = "https://peer.example/"
FLAGS = [
    "--no-sandbox",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
]


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--executable", required=True)
    parser.add_argument("--flag", action="append", default=[], help="one more for Chromium")
    options = parser.parse_args()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=shutil.which(options.executable), args=FLAGS + options.flag)
        context = await browser.new_context(permissions=["microphone", "camera"])
        page = await context.new_page()
        page.on("console", lambda message: print("console:", message.text))
        page.on("pageerror", lambda error: print("page:", error))
        await page.route(PAGE, lambda route: route.fulfill(content_type="text/html", body="<!doctype html>"))
        await page.goto(PAGE)
        script = pathlib.Path(__file__).with_name("browser.js").read_text()
        await page.add_script_tag(content=script)

        def run(name):
            async def call(**arguments):
                return await page.evaluate("([name, of]) => peer[name](of)", [name, arguments])

            return call

        async def record(file):
            lines.write(file, base64.b64decode(await page.evaluate("() => peer.recording()")))

        async def version():
            return browser.version

        names = ["open", "offer", "accept", "answer", "candidate", "states", "stats", "close"]
        commands = {name: run(name) for name in names}
        await lines.serve(commands | {"record": record, "version": version})
        await browser.close()


asyncio.run(main())
