// The built site as a visitor sees it: node test_site.mjs SITE [SCREENSHOTS]
import {access} from "node:fs/promises"
import {join} from "node:path"
import {check, faults, finish, launch, serve} from "./browser.mjs"

const [folder, shots] = process.argv.slice(2)
const {address} = serve(folder)
const browser = await launch()
const PAGES = ["index", "course/codebook", "course/quantizer", "course/transformer"]
const errors = [], abroad = []

async function open(path, options = {}) {
  const context = await browser.newContext(options)
  await context.addInitScript(() => document.addEventListener("securitypolicyviolation", () => {}))
  const page = await context.newPage()
  page.on("pageerror", e => errors.push(`${path}: ${e.message}`))
  page.on("response", r => r.status() >= 400 && errors.push(`${path}: ${r.status()} ${r.url()}`))
  page.on("request", r => /^https?:/.test(r.url()) && !r.url().startsWith(address) && abroad.push(r.url()))
  await page.goto(address + path + (path.includes(".html") ? "" : ".html"))
  return page
}
const shot = async (page, name) => shots && page.screenshot({path: join(shots, `${name}.png`)})
const broken = page => page.$$eval("img", all => all.filter(i => i.complete && !i.naturalWidth).length)

for (const path of PAGES) {
  for (const [name, options] of [["light", {colorScheme: "light"}], ["dark", {colorScheme: "dark"}],
                                 ["390 px", {viewport: {width: 390, height: 844}}]]) {
    const page = await open(path, options)
    const found = await faults(page)
    check(`${path}, ${name}: axe finds no serious fault`, !found, found)
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)
    check(`${path}, ${name}: nothing is wider than the page`, wide <= 0, wide > 0 ? `${wide} px` : "")
    check(`${path}, ${name}: all pictures are there`, await broken(page) === 0)
    await shot(page, `${path.replace("/", "-")}-${name.replace(" ", "")}`)
    await page.context().close()
  }
}

const page = await open("course/codebook", {viewport: {width: 1280, height: 900}})
const shape = await page.evaluate(() => {
  const blocks = [...document.querySelectorAll("main pre")]
  return {formulas: document.querySelectorAll("main math").length,
          raw: /\\\(|\\\[|\$\$/.test(document.querySelector("main").innerText),
          blocks: blocks.length, scroll: blocks.filter(b => b.scrollWidth > b.clientWidth + 1).length}
})
check("formulas are shown, none is raw", shape.formulas > 0 && !shape.raw, `${shape.formulas} formulas`)
check("code fits at 1280 px", shape.scroll <= shape.blocks / 10, `${shape.scroll} of ${shape.blocks} blocks scroll`)
check("the page leads to Colab and to the notebook",
  await page.locator(".page-links a[href*=colab]").count() === 1 &&
  await page.locator(".page-links a[href$='02_codebook.ipynb']").count() === 2)

const toggle = page.locator(".quarto-color-scheme-toggle").first()
const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor)
const before = await ground()
await toggle.click()
await page.waitForFunction(old => getComputedStyle(document.body).backgroundColor !== old, before)
check("the button changes to the dark theme", await ground() !== before, `${before} -> ${await ground()}`)

await page.locator("#quarto-search input").first().fill("quantizer")
await page.waitForSelector(".smalldocs-search-results a, .aa-Item a")
const hits = await page.$$eval(".smalldocs-search-results a, .aa-Item a", all => all.map(a => a.href))
check("search finds the page of the quantizer", hits.some(h => h.includes("quantizer")), `${hits.length} hits`)
const foundInDark = await faults(page)
check("search results in the dark: axe finds no serious fault", !foundInDark, foundInDark)
await shot(page, "search-dark")

const symbol = await open("course/sampling.html#sample_token").catch(() => null)
const targets = await symbol.$$eval("a.api", all => all.map(a => a.id))
check("names of functions are anchors", targets.length > 3, targets.slice(0, 4).join(", "))
const linked = await symbol.$$eval("main a code", all => all.map(c => c.parentElement.getAttribute("href")))
check("a name in the text leads to its documentation", linked.some(h => h?.includes("#")), `${linked.length} links`)

if (await access(join(folder, "playground/index.html")).then(() => true, () => false)) {
  const play = await open("playground/index.html")
  check("the playground opens from the site", await play.locator("h1").innerText() === "Playground")
}
check("no page asks for anything elsewhere", !abroad.length, [...new Set(abroad)].slice(0, 3).join(" "))
check("no script fails, nothing is missing", !errors.length, errors.slice(0, 3).join("; "))
await browser.close()
finish()
