// Compares what sampling.js draws with what Python drew (see expected.py); test.mjs runs it in
// node, test_browser.mjs in a browser. Rounding may turn one code in many thousands, and with it
// the rest of its picture: `compare` counts such pictures.
import {generate, openModel, uniforms} from "./sampling.js"

const eight = x => Math.round((Math.max(-1, Math.min(1, x)) + 1)*127.5)

async function compareCases(model, cases) {
  const found = {drawings: 0, codes: 0, different: 0, seeds: 0}
  for (const {seed, label, options, uniforms: given, codes, kept} of cases) {
    const drawn = []
    for await (const {code} of generate(model, {...options, label, kept, uniforms: given}))
      drawn.push(code)
    found.drawings += 1
    found.codes += codes.length
    found.different += Number(codes.some((code, i) => code !== drawn[i]))
    found.seeds += Number(uniforms(seed, codes.length).some((u, i) => u !== given[i]))
  }
  return found
}

async function comparePictures(model, {pictures, codes, decoded}) {
  const {depth} = model.config
  let wrongCodes = 0, furthest = 0
  for (const [i, picture] of pictures.entries()) {
    const got = await model.encode(picture.map(x => x/127.5 - 1))
    wrongCodes += got.filter((code, k) => code !== codes[i][k]).length
    for (let d = 0; d < depth; d++) {
      const image = await model.decode(codes[i], codes[i].map((_, k) => Number(k % depth <= d)))
      for (const [k, x] of decoded[d][i].entries())
        furthest = Math.max(furthest, Math.abs(eight(image[k]) - x))
    }
  }
  return {pictures: pictures.length, wrongCodes, furthest}
}

export async function compare(ort, name, read, expected) {
  const model = await openModel(ort, name, read)
  return {...await compareCases(model, expected.cases), ...await comparePictures(model, expected)}
}

// The lines of a report, and whether all is well
export function judge(name, found) {
  const problems = []
  if (found.different > 1) problems.push(`${found.different} drawings differ`)
  if (found.seeds) problems.push(`${found.seeds} seeds give other random numbers`)
  if (found.wrongCodes > 4) problems.push(`the encoder differs in ${found.wrongCodes} codes`)
  if (found.furthest > 1) problems.push(`a grey value is off by ${found.furthest}`)
  if (!found.drawings) problems.push("nothing was compared")
  return `${problems.length ? "FAILED" : "ok    "} ${name}: ${found.drawings} drawings of ` +
         `${found.codes} codes, ${found.different} differ; ${found.pictures} pictures, ` +
         `${found.wrongCodes} codes differ, grey values within ${found.furthest}` +
         problems.map(p => `\n       ${p}`).join("")
}
