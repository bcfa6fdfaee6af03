// Pages run in JupyterLab from first cell to last: node test_lab.mjs JUPYTER [PAGE ...]
import {spawn} from "node:child_process"
import {cp, mkdtemp, writeFile} from "node:fs/promises"
import {rmSync} from "node:fs"
import {tmpdir} from "node:os"
import {join, resolve} from "node:path"
import {check, finish, launch} from "./browser.mjs"

const [jupyter, ...given] = process.argv.slice(2)
const pages = given.length ? given
  : ["course/02_codebook", "course/03_quantizer", "course/07_blocks"]
const MINUTES = 8
const PORT = 20000 + process.pid % 20000

// A copy, so that running changes nothing
const folder = await mkdtemp(join(tmpdir(), "lab-"))
for (const part of ["nbs", "results"]) await cp(part, join(folder, part), {recursive: true})
const lab = spawn(resolve(jupyter), ["lab", "--no-browser", `--port=${PORT}`, "--allow-root",
  "--IdentityProvider.token=", `--ServerApp.root_dir=${join(folder, "nbs")}`,
  "--ServerApp.port_retries=0", "--LabApp.expose_app_in_browser=True"],
  {stdio: "ignore", detached: true, env: {...process.env, JUPYTER_CONFIG_DIR: join(folder, "config"),
    JUPYTERLAB_SETTINGS_DIR: join(folder, "settings"), JUPYTERLAB_WORKSPACES_DIR: join(folder, "work")}})
process.on("exit", () => {
  try { process.kill(-lab.pid) } catch { /* it ended by itself */ }
  rmSync(folder, {recursive: true, force: true, maxRetries: 5, retryDelay: 500})
})
const address = `http://localhost:${PORT}/`
for (let k = 0; k < 120; k++) {
  if (await fetch(address + "api").then(r => r.ok, () => false)) break
  await new Promise(done => setTimeout(done, 1000))
}
const browser = await launch()

async function open(path) {
  const page = await (await browser.newContext({viewport: {width: 1280, height: 900}})).newPage()
  await page.goto(`${address}lab/tree/${path}.ipynb?reset`)
  await page.waitForFunction(() => {
    const widget = window.jupyterapp?.shell?.currentWidget
    return widget?.content?.widgets?.length && widget.sessionContext?.session?.kernel
  }, null, {timeout: 120000})
  return page
}

const runAll = page => page.evaluate(async minutes => {
  const {shell, commands} = window.jupyterapp, notebook = shell.currentWidget
  await notebook.sessionContext.ready
  const late = new Promise(done => setTimeout(() => done("late"), minutes*60000))
  const end = await Promise.race([commands.execute("notebook:run-all-cells"), late])
  const cells = notebook.content.model.cells, code = []
  for (let k = 0; k < cells.length; k++) if (cells.get(k).type === "code") code.push(cells.get(k))
  const bad = code.flatMap(c => c.toJSON().outputs).filter(o => o.output_type === "error")
  return {end, cells: code.length, errors: bad.map(o => `${o.ename}: ${o.evalue}`).slice(0, 2),
          ran: code.filter(c => c.executionCount || !c.sharedModel.source.trim()).length}
}, MINUTES)

for (const path of pages) {
  const start = Date.now(), page = await open(path)
  const {end, cells, errors, ran} = await runAll(page)
  check(`JupyterLab runs ${path} from first cell to last`,
        end !== "late" && !errors.length && ran === cells,
        `${ran} of ${cells} cells, ${Math.round((Date.now()-start)/1000)} s ${errors.join("; ")}`)
  await page.context().close()
}

// Sliders: the next seed is another picture
const source = ["from dnd_transformer import DnDPipeline\n",
                "from dnd_transformer.models.explore import explore\n",
                "explore(DnDPipeline.from_pretrained('digits'))"]
const kernelspec = {name: "python3", display_name: "Python 3", language: "python"}
const cell = {cell_type: "code", id: "a", metadata: {}, source, outputs: [], execution_count: null}
await writeFile(join(folder, "nbs/sliders.ipynb"),
                JSON.stringify({cells: [cell], metadata: {kernelspec}, nbformat: 4, nbformat_minor: 5}))
const page = await open("sliders")
const {errors} = await runAll(page)
const picture = page.locator("img.widget-image, .widget-image img").first()
await picture.waitFor({timeout: 60000})
const before = await picture.getAttribute("src")
await page.locator(".noUi-handle").first().focus()
await page.keyboard.press("ArrowRight")
const changed = await page.waitForFunction(
  old => (document.querySelector("img.widget-image, .widget-image img")?.src ?? old) !== old,
  before, {timeout: 60000}).then(() => true, () => false)
check("explore draws anew when its seed is moved", changed && !errors.length, errors.join("; "))
await browser.close()
finish()
