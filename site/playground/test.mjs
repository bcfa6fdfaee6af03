// Does JavaScript draw what Python draws? In node: node test.mjs PLAYGROUND EXPECTED
import {readFile} from "node:fs/promises"
import {join, resolve} from "node:path"
import {pathToFileURL} from "node:url"
import {compare, judge} from "./compare.js"
import {drawCode, probabilities, startRuntime} from "./sampling.js"

const [folder, expectedFile] = process.argv.slice(2)
const read = async path => {
  const {buffer, byteOffset, length} = await readFile(join(folder, path))
  return buffer.slice(byteOffset, byteOffset + length)
}
const lines = []
const check = (name, right) => lines.push(`${right ? "ok    " : "FAILED"} ${name}`)

// By hand: shares .5, .3, .2
const p = probabilities([5, 3, 2].map(Math.log), 1, 1)
check("draws by shares", drawCode(p, 0) === 0 && drawCode(p, .49) === 0 && drawCode(p, .51) === 1 &&
      drawCode(p, .79) === 1 && drawCode(p, .81) === 2 && drawCode(p, .999999) === 2)
const top = probabilities([5, 3, 2].map(Math.log), 1, .6)
check("top-p keeps the first codes", Math.abs(top[0] - 5/8) < 1e-9 && top[2] === 0)
check("never draws what top-p left out", drawCode(top, 1 - 2**-24) === 1)

const ort = await import(pathToFileURL(resolve(folder, "ort.wasm.bundle.min.mjs")))
await startRuntime(ort, read)
for (const [name, expected] of Object.entries(JSON.parse(await readFile(expectedFile))))
  lines.push(judge(name, await compare(ort, name, read, expected)))

console.log(lines.join("\n"))
const failed = lines.filter(line => line.startsWith("FAILED")).length
console.log(`${lines.length - failed} passed, ${failed} failed`)
process.exit(failed ? 1 : 0)
