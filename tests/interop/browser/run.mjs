// Runs page.mjs in a headless Chromium. WS_URLS: the listeners of a cluster of three. WS_COMPRESSED:
// whether they compress. NODE1_PID: the first one's process. SCREENSHOT: a file to make of the page.

import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { chromium } from "playwright-core";

const { outputFiles } = await build({
  entryPoints: [fileURLToPath(new URL("page.mjs", import.meta.url))],
  bundle: true,
  format: "iife",
  write: false,
});

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM,
  args: ["--no-sandbox", "--ignore-certificate-errors"],
});
try {
  const page = await browser.newPage({ ignoreHTTPSErrors: true });
  const ended = new Promise((resolve) => {
    page.exposeFunction("report", async (line) => {
      console.log(line);
      await page.evaluate((text) => {
        document.body.appendChild(document.createElement("p")).textContent = text;
      }, line);
      if (line === "done") resolve();
    });
  });
  await page.exposeFunction("killNode1", () => process.kill(Number(process.env.NODE1_PID), "SIGKILL"));
  page.on("pageerror", (error) => console.log(`FAILED in the page: ${error}`));
  await page.setContent(`<h1>nats-core in Chromium</h1><p>${process.env.WS_URLS}</p>`);
  await page.evaluate(
    ([urls, compressed]) => Object.assign(globalThis, { wsUrls: urls, compressed }),
    [process.env.WS_URLS.split(","), process.env.WS_COMPRESSED === "true"],
  );
  await page.addScriptTag({ content: outputFiles[0].text });
  await ended;
  if (process.env.SCREENSHOT) await page.screenshot({ path: process.env.SCREENSHOT });
} finally {
  await browser.close();
}
