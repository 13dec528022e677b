"""Headless Chromium on the page of `sluice demo-browser`: it presses the buttons, and reads what the page shows."""

import argparse
import asyncio
import shutil

from playwright.async_api import async_playwright

import lines

FLAGS = ["--no-sandbox", "--autoplay-policy=no-user-gesture-required"]
# What the page shows, and what the browser itself says of its keys.
READ = """async () => {
    const text = (id) => document.getElementById(id).textContent.trim();
    const rows = [...document.querySelectorAll("#facts tbody tr")].map((row) => [...row.cells].map((cell) => cell.textContent));
    const reports = state.connection ? [...(await state.connection.getStats()).values()] : [];
    const transport = reports.find((report) => report.type === "transport");
    const heard = reports.find((report) => report.type === "inbound-rtp");
    return {
        message: text("message"), robustness: text("robustness"), caller: text("caller-label"), callee: text("callee-label"),
        facts: Object.fromEntries(rows.map(([title, ...values]) => [title, values])),
        level: document.getElementById("level").value,
        srtp: transport?.srtpCipher ?? "", version: transport?.tlsVersion ?? "",
        heard: heard?.totalAudioEnergy ?? 0,
    };
}"""


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--executable", required=True)
    parser.add_argument("--url", required=True)
    options = parser.parse_args()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=shutil.which(options.executable), args=FLAGS)
        # Without it Chromium tells its addresses by names alone that somebody has to answer for by multicast DNS, and
        # makes no check before that is sure.
        context = await browser.new_context(permissions=["microphone"])
        page = await context.new_page()
        page.on("console", lambda message: print("console:", message.text))
        page.on("pageerror", lambda error: print("page:", error))
        await page.goto(options.url)

        async def press(button):
            await page.click(f"#{button}")

        async def read():
            return await page.evaluate(READ)

        async def picture(file):
            await page.screenshot(path=file, full_page=True)

        await lines.serve({"press": press, "read": read, "picture": picture})
        await browser.close()


asyncio.run(main())
