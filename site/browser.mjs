// What the browser tests share: a static server, Chromium, a list of checks, axe
import {access, readFile} from "node:fs/promises"
import {createServer} from "node:http"
import {createRequire} from "node:module"
import {extname, join} from "node:path"

const need = createRequire(new URL("playground/package.json", import.meta.url))
const {chromium} = need("playwright-core")
const axe = need("axe-core")

export const lines = []
export const check = (name, right, shown = "") =>
  lines.push(`${right ? "ok    " : "FAILED"} ${name}${shown && `: ${shown}`}`)

const TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript",
               ".mjs": "text/javascript", ".json": "application/json", ".png": "image/png"}
export function serve(folder, more = {}) { // `more`: files from elsewhere, by path
  const site = {sent: 0}
  site.server = createServer(async (request, response) => {
    const path = decodeURIComponent(new URL(request.url, "http://x").pathname)
    const file = more[path] ?? join(folder, path.endsWith("/") ? path + "index.html" : path)
    const body = await readFile(file).catch(() => null)
    if (body) site.sent += body.length
    const type = TYPES[extname(String(file))] ?? "application/octet-stream"
    response.writeHead(body ? 200 : 404, {"content-type": type})
    response.end(body)
  }).listen(0)
  site.address = `http://localhost:${site.server.address().port}/`
  return site
}

export async function launch() {
  const candidates = [process.env.CHROMIUM, "/usr/bin/chromium", "/usr/bin/google-chrome"]
  const there = await Promise.all(candidates.map(p => p && access(p).then(() => p, () => null)))
  const executablePath = there.find(Boolean)
  if (!executablePath) {
    console.error("There is no Chromium: install Debian's package chromium, or set CHROMIUM=path")
    process.exit(2)
  }
  return chromium.launch({executablePath, args: ["--no-sandbox"]})
}

export async function faults(page) {
  await page.evaluate(axe.source)
  const {violations} = await page.evaluate(() => window.axe.run())
  return violations.filter(v => ["serious", "critical"].includes(v.impact))
    .map(v => `${v.id} x${v.nodes.length} (${v.nodes[0].target})`).join("; ")
}

export function finish() {
  console.log(lines.join("\n"))
  const failed = lines.filter(l => l.startsWith("FAILED")).length
  console.log(`${lines.length - failed} passed, ${failed} failed`)
  process.exit(failed ? 1 : 0)
}
