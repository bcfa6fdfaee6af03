// The playground as a visitor sees it: node test_browser.mjs PLAYGROUND EXPECTED [SCREENSHOTS]
// It needs Chromium (Debian's package `chromium`, or CHROMIUM=path) and prints times and sizes.
import {readFile} from "node:fs/promises"
import {join} from "node:path"
import {check, faults, finish, launch, lines, serve} from "../browser.mjs"

const [folder, expectedFile, shots] = process.argv.slice(2)
const expected = JSON.parse(await readFile(expectedFile))
// compare.js stands beside the page for the test alone
const site = serve(folder, {"/compare.js": new URL("compare.js", import.meta.url)})
const {server, address} = site
const browser = await launch()
const errors = []
async function open(options) {
  const page = await (await browser.newContext(options)).newPage()
  page.on("pageerror", error => errors.push(error.message))
  page.on("console", message => message.type() === "error" && errors.push(message.text()))
  await page.goto(address)
  return page
}
const status = page => page.textContent("#status")
const done = page => page.waitForFunction(
  () => /^(Done|That did not)/.test(document.querySelector("#status").textContent),
  null, {timeout: 60000})
const codes = page => page.$$eval("#grid button", cells => cells.flatMap(
  cell => cell.ariaLabel.includes("codes") ? cell.ariaLabel.split("codes ")[1].split(", ").map(Number) : []))
const shot = async (page, name) =>
  shots && page.screenshot({path: join(shots, `${name}.png`), fullPage: true})
const same = (a, b) => a.length === b.length && a.every((x, i) => x === b[i])
const wanted = (name, seed, options) => expected[name].cases.find(c => c.seed === seed &&
  !c.kept.length && JSON.stringify(c.options) === JSON.stringify(options)).codes

// What a first visit costs: bytes, and seconds from the click to the first picture and to the
// finished one. Other programs on the machine lengthen these, but not the page's processor time,
// so that is what is tested; the machine should be quiet when the seconds are quoted.
const desktop = {viewport: {width: 1280, height: 900}}
const processorTime = async session =>
  (await session.send("Performance.getMetrics")).metrics.find(m => m.name === "ProcessTime").value
for (const name of ["words", "phrases", "digits"]) {
  site.sent = 0
  const page = await open(desktop), session = await page.context().newCDPSession(page)
  await session.send("Performance.enable")
  const start = performance.now(), seconds = () => ((performance.now() - start)/1000).toFixed(1)
  await page.click(`[data-model=${name}]`)
  await page.waitForFunction(() => document.querySelector("#picture").ariaLabel.includes("codes"))
  const first = seconds()
  await done(page)
  const all = seconds(), busy = await processorTime(session)
  check(`${name}: first visit within 10 s of processor time (two cores: 5 s), under 15 MB`,
        busy < 10 && site.sent < 15e6, `first picture after ${first} s, finished after ${all} s, ` +
        `${busy.toFixed(1)} s of processor time, ${(site.sent/1e6).toFixed(1)} MB`)
  await page.context().close()
}

// The same codes as Python, drawn by the buttons and sliders
let page = await open(desktop)
const set = (id, value) => page.locator(`#${id}`).evaluate((input, value) => {
  input.value = value
  input.dispatchEvent(new Event("input"))
}, value)
const drawn = async (name, seed) => {
  await set("seed", seed)
  await page.click(`[data-model=${name}]`)
  await page.waitForFunction(seed => document.querySelector("#status").textContent.includes("Code ") &&
    document.querySelector("#status").textContent.endsWith(`seed ${seed}`), seed)
  await done(page)
  return codes(page)
}
await set("temperature", .5)
await set("top-p", .9)
await set("wait", 0)
check("words as Python draws them", same(await drawn("words", 3),
      wanted("words", 3, {temperature: .5, topP: .9})))
check("the next picture has the next seed", await page.inputValue("#seed") === "4")
await page.check("#greedy")
check("greedy phrases too", same(await drawn("phrases", 5), wanted("phrases", 5, {greedy: true})))
await page.uncheck("#greedy")
await set("temperature", 1)
await set("top-p", 1)
await set("guidance", 2)
await page.selectOption("#label", "7")
check("guided digits too", same(await drawn("digits", 7), wanted("digits", 7, {guidance: 2})))

// Decoding to depth 1 changes the picture and not the codes
const pixels = () => page.$eval("#picture", c => c.toDataURL())
const before = [await pixels(), await codes(page)]
await set("depth", 1)
await page.waitForFunction(() => document.querySelector("#picture").ariaLabel.endsWith("depth 1"))
check("the slider decodes to depth 1", await pixels() !== before[0] &&
      same(await codes(page), before[1]))

// Bars: probabilities of each depth, the drawn code among them
await page.click("#grid button:nth-child(6)")
const bars = await page.$$eval("#bars > div", boxes => boxes.map(box => ({
  drawn: box.querySelector(".drawn").textContent, shares: [...box.querySelectorAll("li")].map(
    li => parseFloat(li.lastChild.textContent))})))
check("bars show the codes of a position", bars.length === 2 &&
      bars.every((bar, d) => bar.drawn.startsWith(`code ${before[1][10 + d]} `)) &&
      bars.every(bar => bar.shares.reduce((a, b) => a + b) <= 101))

// One code at a time
await set("wait", 500)
await page.click("[data-model=words]")
await page.waitForFunction(() => document.querySelector("#status").textContent.startsWith("Code 1 "))
await page.click("#next")
await page.waitForTimeout(1500)  // longer than a code takes
const paused = (await codes(page)).length
await page.click("#next")
const more = n => document.querySelector("#status").textContent.startsWith(`Code ${n} `)
const drewOne = await page.waitForFunction(more, paused + 1, {timeout: 5000}).catch(() => null)
await page.waitForTimeout(700)
check("Next code draws one more, and waits", drewOne && (await codes(page)).length === paused + 1)
await set("wait", 0)
await page.click("#pause")
await done(page)

// A second click ends the first drawing, also of another model
for (const name of ["words", "phrases", "words", "digits"]) await page.click(`[data-model=${name}]`)
await page.waitForFunction(() => document.querySelectorAll("#grid button").length === 16)
await done(page)
check("the last click wins", (await codes(page)).length === 32, await status(page))
await page.click("[data-model=words]")
await page.waitForFunction(() => document.querySelectorAll("#grid button").length === 18)
await done(page)

// Completing: what is on the sheet is kept, its upper half, and the rest is drawn
await page.click("#take")
await page.click("#complete")
await page.waitForFunction(() => document.querySelector("#grid .given"))
await done(page)
const given = await page.$$eval("#grid button", cells => cells.map(c => c.classList.contains("given")))
check("the upper half is kept", given.length === 18 && given.every((g, t) => g === t < 9))
await page.fill("#typed", "the")
await shot(page, "desktop")
check("typing puts ink on the sheet", !/has 0 dark/.test(await page.textContent("#sheet-state")))
await page.click("#clear")
await page.focus("#sheet")
for (const key of ["ArrowRight", "ArrowDown", "Space"]) await page.keyboard.press(key)
check("the keyboard draws", /column 4, row 4.*has 1 dark/.test(await page.textContent("#sheet-state")),
      await page.textContent("#sheet-state"))

// Without a mouse: draw, then walk through the grid
page = await open(desktop)
await page.focus("[data-model=digits]")
await page.keyboard.press("Enter")
await done(page)
await page.focus("#grid button[tabindex='0']")
await page.keyboard.press("ArrowUp")
check("arrow keys choose a position",
      /^Row 3, column 4/.test(await page.textContent("#where")), await page.textContent("#where"))
const unnamed = await page.$$eval("button, input, select, canvas", all => all.filter(x =>
  !(x.ariaLabel || x.textContent.trim() || x.labels?.length)).map(x => x.id || x.outerHTML))
check("every control has a name", !unnamed.length, unnamed.join(" "))
check("axe finds no serious fault", !await faults(page), await faults(page))

// A phone in the dark
page = await open({viewport: {width: 390, height: 844}, colorScheme: "dark", hasTouch: true})
await page.tap("[data-model=phrases]")
await done(page)
await shot(page, "phone")
check("axe finds none in the dark", !await faults(page), await faults(page))
const wide = await page.evaluate(() => document.documentElement.scrollWidth)
check("nothing is wider than the phone", wide <= 390, `${wide} px`)
const small = await page.$$eval("button, select, input", all => all.filter(
  x => x.getBoundingClientRect().height < 24 && x.type !== "checkbox").map(x => x.id || x.outerHTML))
check("everything is large enough for a finger", !small.length, small.join(" "))
const sheet = page.locator("#sheet")
await sheet.scrollIntoViewIfNeeded()
const box = await sheet.boundingBox()
await page.touchscreen.tap(box.x + box.width/3, box.y + box.height/4)
check("a finger draws", !/has 0 dark/.test(await page.textContent("#sheet-state")))

// All drawings of the test in this browser
for (const [name, of] of Object.entries(expected))
  lines.push(await page.evaluate(async ([name, of]) => {
    const {compare, judge} = await import("./compare.js")
    const {startRuntime} = await import("./sampling.js")
    const ort = await import("./ort.wasm.bundle.min.mjs")
    const read = async path => (await fetch(path)).arrayBuffer()
    await startRuntime(ort, read)
    return judge(`browser, ${name}`, await compare(ort, name, read, of))
  }, [name, of]))

check("no error in the console", !errors.length, errors.join("; "))
await browser.close()
server.close()
finish()
