// The page: buttons, sliders, pictures. How codes are drawn is in sampling.js.
import * as ort from "./ort.wasm.bundle.min.mjs"
import {generate, openModel, startRuntime, uniforms} from "./sampling.js"

const SIZES = {words: [16, 72], phrases: [16, 144], digits: [16, 16]}  // Height, width
const $ = id => document.getElementById(id)
const number = id => Number($(id).value)
const sleep = ms => new Promise(done => setTimeout(done, ms))
// Screen readers hear the beginning and the end, not every code
const say = (text, aloud = true) => {
  $("status").ariaLive = aloud ? "polite" : "off"
  $("status").textContent = text
}

// ---- Models, each loaded when it is first wanted
const models = {}
let runtime = null

async function read(path) {
  const answer = await fetch(path)
  if (!answer.ok) throw new Error(`${path}: the server answered ${answer.status}`)
  return answer.arrayBuffer()
}

async function getModel(name) {
  if (models[name]) return models[name]
  say("Loading the model…")
  await (runtime ??= startRuntime(ort, read))
  return models[name] = await openModel(ort, name, read)
}

// ---- The picture that is being drawn, and the last one
let run = null      // model, codes, probabilities, position chosen, whether paused
let drawing = 0     // A number per picture: a new one ends the one before

function settings(model) {
  const {grid, depth, guidance} = model.config
  return {label: model.config.classes > 1 ? number("label") : 0,
          guidance: guidance ? number("guidance") : 1, temperature: number("temperature"),
          topP: number("top-p"), greedy: $("greedy").checked,
          uniforms: uniforms(number("seed"), grid[0]*grid[1]*depth)}
}

function showGrid() {
  const [, columns] = run.model.config.grid
  $("grid").style.gridTemplateColumns = `repeat(${columns}, 1fr)`
  $("board").style.minWidth = `${26*columns}px`
  $("board").style.maxWidth = columns < 6 ? "16rem" : ""
  const stack = () => {
    const cell = document.createElement("button")
    cell.type = "button"
    for (let d = 0; d < run.model.config.depth; d++) cell.append(document.createElement("span"))
    return cell
  }
  const cells = Array.from({length: columns*run.model.config.grid[0]}, stack)
  $("grid").replaceChildren(...cells)
  cells.forEach((cell, t) => { cell.tabIndex = t ? -1 : 0; nameCell(t) })
}

function nameCell(t) {
  const {grid: [, columns], depth} = run.model.config
  const codes = run.codes.slice(t*depth, (t + 1)*depth)
  const cell = $("grid").children[t]
  const row = Math.floor(t/columns) + 1, column = t % columns + 1
  cell.ariaLabel = `Row ${row}, column ${column}: ` +
                   (codes.length ? `codes ${codes.join(", ")}` : "not drawn yet")
  codes.forEach((code, d) => {  // neighbouring codes get colours far apart
    cell.children[d].style.background = `hsl(${code*137.5 % 360} 65% 55%)`
  })
}

function choose(t) {
  run.chosen = t
  for (const [i, cell] of [...$("grid").children].entries()) {
    cell.ariaPressed = String(i === t)
    cell.tabIndex = i === t ? 0 : -1
  }
  showBars()
}

function showBars() {
  const {grid: [, columns], depth} = run.model.config
  const t = run.chosen, row = Math.floor(t/columns) + 1
  $("where").textContent = `Row ${row}, column ${t % columns + 1}: the likeliest codes at each ` +
                           "depth; the one that was taken has a frame."
  const steps = run.steps.slice(t*depth, (t + 1)*depth)
  $("bars").replaceChildren(...steps.map(({d, code, p, drawn}) => {
    const likely = [...p.keys()].sort((a, b) => p[b] - p[a]).slice(0, 5)
    if (!likely.includes(code)) likely[4] = code
    const item = k => {
      const li = document.createElement("li"), percent = (100*p[k]).toFixed(p[k] < .1 ? 1 : 0)
      li.style.setProperty("--share", `${100*p[k]}%`)
      li.className = k === code ? "drawn" : ""
      const taken = k === code ? (drawn ? " ✓" : " ✓ given") : ""
      for (const text of [`code ${k}${taken}`, `${percent} %`])
        li.append(Object.assign(document.createElement("span"), {textContent: text}))
      return li
    }
    const box = document.createElement("div"), list = document.createElement("ol")
    const title = Object.assign(document.createElement("h3"), {textContent: `Depth ${d + 1}`})
    list.append(...likely.map(item))
    box.append(title, list)
    return box
  }))
}

function paint(canvas, image, [height, width]) {
  Object.assign(canvas, {width, height})
  const pixels = new ImageData(width, height)
  image.forEach((x, i) => {
    const grey = Math.max(0, Math.min(255, Math.round((x + 1)*127.5)))
    pixels.data.set([grey, grey, grey, 255], 4*i)
  })
  canvas.getContext("2d").putImageData(pixels, 0, 0)
}

async function showPicture() {
  const {model, codes} = run, {grid, depth, resolution} = model.config
  const wanted = number("depth"), all = grid[0]*grid[1]*depth
  const filled = Array.from({length: all}, (_, i) => codes[i] ?? 0)
  const keep = filled.map((_, i) => Number(i < codes.length && i % depth < wanted))
  const image = await model.decode(filled, keep)
  if (run.model !== model) return
  run.image = image
  paint($("picture"), image, resolution)
  const done = codes.length === all
  $("picture").ariaLabel = `${done ? "Picture" : "Unfinished picture"} of ${codes.length} ` +
                           `codes, decoded to depth ${wanted}`
}

async function draw(name, {kept = []} = {}) {
  const mine = ++drawing, start = performance.now()
  const model = await getModel(name)
  if (mine !== drawing) return
  const {depth, grid} = model.config, all = grid[0]*grid[1]*depth
  run = {name, model, codes: [], steps: [], chosen: 0, follow: true, paused: false, go: 0}
  Object.assign($("depth"), {max: depth, value: depth})
  showValue($("depth"))
  $("pause").disabled = $("next").disabled = false
  $("pause").textContent = "Pause"
  const seed = number("seed")
  showGrid()
  for await (const step of generate(model, {...settings(model), kept})) {
    if (mine !== drawing) return
    run.codes.push(step.code)
    run.steps.push(step)
    nameCell(step.t)
    if (!step.drawn) $("grid").children[step.t].className = "given"
    if (run.follow) choose(step.t)
    say(`Code ${run.codes.length} of ${all}, seed ${seed}`, false)
    if (step.d === depth - 1 || run.paused || number("wait") >= 100) await showPicture()
    await sleep(step.drawn ? number("wait") : 0)
    while (run.paused && !run.go && mine === drawing) await sleep(30)
    run.go = 0
  }
  if (mine !== drawing) return
  $("pause").disabled = $("next").disabled = true
  const seconds = ((performance.now() - start)/1000).toFixed(1)
  say(`Done: ${all} codes in ${seconds} s, seed ${seed}. Choose a position to see its codes.`)
  if ($("new-seed").checked) $("seed").value = (seed + 1) % 2**32
}

// A failure is said, not swallowed
const guarded = action => async event => {
  try { await action(event) } catch (error) {
    console.error(error)
    say(`That did not work: ${error.message}. Reload the page to try again.`)
  }
}

// ---- Buttons and sliders
for (const button of document.querySelectorAll("[data-model]"))
  button.onclick = guarded(() => draw(button.dataset.model))
for (let digit = 0; digit < 10; digit++) $("label").append(new Option(digit, digit))
$("label").value = 3

function showValue(input) {
  const output = document.querySelector(`output[for=${input.id}]`)
  output.value = input.value + (output.dataset.unit ?? "")
}
for (const input of document.querySelectorAll("input[type=range]")) {
  input.addEventListener("input", () => showValue(input))
  showValue(input)
}
$("depth").oninput = guarded(() => run && showPicture())
$("pause").onclick = () => {
  run.paused = !run.paused
  $("pause").textContent = run.paused ? "Go on" : "Pause"
}
$("next").onclick = () => {
  Object.assign(run, {paused: true, follow: true, go: 1})
  $("pause").textContent = "Go on"
}
$("grid").onclick = event => {
  const t = [...$("grid").children].indexOf(event.target.closest("button"))
  if (t >= 0) { run.follow = false; choose(t) }
}
$("grid").onkeydown = event => {
  const columns = run?.model.config.grid[1]
  const step = {ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns}[event.key]
  const t = [...$("grid").children].indexOf(document.activeElement) + step
  if (!step || !$("grid").children[t]) return
  event.preventDefault()
  run.follow = false
  choose(t)
  $("grid").children[t].focus()
}

// ---- The sheet on which the visitor draws
const sheet = $("sheet"), ink = sheet.getContext("2d", {willReadFrequently: true})
let cursor = [2, 2], last = null

function newSheet() {
  const [height, width] = SIZES[$("sheet-model").value]
  Object.assign(sheet, {width, height})
  sheet.style.maxWidth = width < 20 ? "16rem" : ""
  ink.fillStyle = "white"
  ink.fillRect(0, 0, width, height)
  cursor = [2, 2]
  describe()
}

function describe() {
  const pixels = ink.getImageData(0, 0, sheet.width, sheet.height/2).data
  const dark = pixels.filter((x, i) => i % 4 === 0 && x < 128).length
  $("sheet-state").textContent = `Cursor at column ${cursor[0] + 1}, row ${cursor[1] + 1}. The ` +
    `upper half, which is kept, has ${dark} dark pixels.`
}

function place(event) {  // the middle of a pixel, so that thin strokes are black
  const box = sheet.getBoundingClientRect()
  return [Math.floor((event.clientX - box.left)/box.width*sheet.width) + .5,
          Math.floor((event.clientY - box.top)/box.height*sheet.height) + .5]
}

sheet.onpointerdown = event => {
  sheet.setPointerCapture(event.pointerId)
  last = place(event)
  sheet.onpointermove(event)
}
sheet.onpointermove = event => {
  if (!last) return
  const now = place(event)
  Object.assign(ink, {strokeStyle: "black", lineWidth: 1.4, lineCap: "round"})
  ink.beginPath()
  ink.moveTo(...last)
  ink.lineTo(now[0] + .01, now[1])
  ink.stroke()
  last = now
}
sheet.onpointerup = sheet.onpointercancel = () => { last = null; describe() }
sheet.onkeydown = event => {
  const move = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]}[event.key]
  if (!move && event.key !== " ") return
  event.preventDefault()
  if (move) cursor = [Math.max(0, Math.min(sheet.width - 1, cursor[0] + move[0])),
                      Math.max(0, Math.min(sheet.height - 1, cursor[1] + move[1]))]
  else {
    ink.fillStyle = ink.getImageData(...cursor, 1, 1).data[0] < 128 ? "white" : "black"
    ink.fillRect(...cursor, 1, 1)
  }
  describe()
}
$("sheet-model").onchange = $("clear").onclick = () => { $("typed").value = ""; newSheet() }
$("typed").oninput = () => {
  newSheet()

// The runtime loads while the visitor reads, unless data is to be saved
if (!navigator.connection?.saveData) runtime = startRuntime(ort, read)
  const digit = $("sheet-model").value === "digits"
  ink.fillStyle = "black"
  ink.textAlign = digit ? "center" : "left"
  ink.font = `${digit ? 17 : 13}px "DejaVu Sans", Verdana, sans-serif`
  ink.fillText($("typed").value, digit ? 8 : 2, digit ? 14 : 12)  // as in the training pictures
  describe()
}
$("take").onclick = () => {
  if (!run?.image) return say("There is no picture yet: draw one first.")
  $("sheet-model").value = run.name
  newSheet()

// The runtime loads while the visitor reads, unless data is to be saved
if (!navigator.connection?.saveData) runtime = startRuntime(ort, read)
  paint(sheet, run.image, run.model.config.resolution)
  describe()
}
$("complete").onclick = guarded(async () => {
  const name = $("sheet-model").value, model = await getModel(name)
  const {data} = ink.getImageData(0, 0, sheet.width, sheet.height)
  const grey = Float32Array.from({length: data.length/4}, (_, i) => data[4*i]/127.5 - 1)
  const codes = await model.encode(grey)
  await draw(name, {kept: codes.slice(0, codes.length/2)})
  $("picture").scrollIntoView({block: "nearest"})
})
newSheet()

// The runtime loads while the visitor reads, unless data is to be saved
if (!navigator.connection?.saveData) runtime = startRuntime(ort, read)
