// Pages run in JupyterLab from first cell to last: node test_lab.mjs JUPYTER [PAGE ...]
import {spawn} from "node:child_process"
import {cp, mkdtemp, rm} from "node:fs/promises"
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
await cp("nbs", join(folder, "nbs"), {recursive: true})
const lab = spawn(resolve(jupyter), ["lab", "--no-browser", `--port=${PORT}`, "--allow-root",
  "--IdentityProvider.token=", `--ServerApp.root_dir=${join(folder, "nbs")}`,
  "--ServerApp.port_retries=0", "--LabApp.expose_app_in_browser=True"],
  {stdio: "ignore", detached: true, env: {...process.env, JUPYTER_CONFIG_DIR: join(folder, "config"),
    JUPYTERLAB_SETTINGS_DIR: join(folder, "settings"), JUPYTERLAB_WORKSPACES_DIR: join(folder, "work")}})
const address = `http://localhost:${PORT}/`
for (let k = 0; k < 120; k++) {
  if (await fetch(address + "api").then(r => r.ok, () => false)) break
  await new Promise(done => setTimeout(done, 1000))
}
const browser = await launch()

async function run(path) {
  const page = await (await browser.newContext({viewport: {width: 1280, height: 900}})).newPage()
  await page.goto(`${address}lab/tree/${path}.ipynb?reset`)
  await page.waitForFunction(() => window.jupyterapp?.shell?.currentWidget?.content?.widgets?.length > 1
    && window.jupyterapp.shell.currentWidget.sessionContext?.session?.kernel, null, {timeout: 120000})
  return page.evaluate(async minutes => {
    const {shell, commands} = window.jupyterapp, notebook = shell.currentWidget
    await notebook.sessionContext.ready
    const late = new Promise(done => setTimeout(() => done("late"), minutes*60000))
    const end = await Promise.race([commands.execute("notebook:run-all-cells"), late])
    await Promise.race([notebook.sessionContext.session.kernel.requestKernelInfo(), late])
    const cells = notebook.content.model.cells, code = []
    for (let k = 0; k < cells.length; k++) if (cells.get(k).type === "code") code.push(cells.get(k))
    const json = code.map(c => c.toJSON())
    const bad = json.flatMap(c => c.outputs).filter(o => o.output_type === "error")
    return {end, cells: code.length, errors: bad.map(o => `${o.ename}: ${o.evalue}`).slice(0, 2),
            ran: code.filter(c => c.executionCount || !c.sharedModel.source.trim()).length}
  }, MINUTES).finally(() => page.context().close())
}

for (const path of pages) {
  const start = Date.now()
  const {end, cells, errors, ran} = await run(path).catch(e => ({cells: 0, ran: -1, errors: [e.message]}))
  check(`JupyterLab runs ${path} from first cell to last`, end !== "late" && !errors.length && ran === cells,
        `${ran} of ${cells} cells, ${Math.round((Date.now()-start)/1000)} s ${errors.join("; ")}`)
}
await browser.close()
process.kill(-lab.pid)
await rm(folder, {recursive: true, force: true, maxRetries: 5, retryDelay: 500})
finish()
