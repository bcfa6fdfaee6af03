// The sampling loop of the course's page 10 in JavaScript. For the same uniform numbers it draws
// the same codes as `dnd_transformer.sampling.generate`; test.mjs compares the two.

// Random numbers of a seed: mulberry32, the upper 24 bits of each, so that float32 holds them
export function uniforms(seed, count) {
  let state = seed >>> 0
  return Float32Array.from({length: count}, () => {
    state = (state + 0x6D2B79F5) >>> 0
    let x = Math.imul(state ^ (state >>> 15), state | 1)
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61)
    return ((x ^ (x >>> 14)) >>> 8) / 2**24
  })
}

// Away from the logits without a label, past those with it
export function guide(conditional, unconditional, guidance) {
  return conditional.map((x, i) => unconditional[i] + guidance*(x - unconditional[i]))
}

// Probabilities of all codes; those are left out that come after the share `topP`
export function probabilities(logits, temperature, topP) {
  const highest = Math.max(...logits)
  let p = Array.from(logits, x => Math.exp((x - highest)/temperature))
  const total = p.reduce((a, b) => a + b)
  p = p.map(x => x/total)
  if (topP >= 1) return p
  const order = [...p.keys()].sort((a, b) => p[b] - p[a])
  let before = 0, kept = p.map(() => 0)
  for (const code of order) {
    if (before >= topP) break
    kept[code] = p[code]
    before += p[code]
  }
  return kept.map(x => x/before)
}

// The code in whose share of the probability the number `u` falls
export function drawCode(p, u) {
  const place = u*p.reduce((a, b) => a + b)
  let sum = 0
  for (let code = 0; code < p.length; code++) if ((sum += p[code]) > place) return code
  return p.findLastIndex(x => x > 0)  // rounding: the place lay on the end of the line
}

// Draws one picture, and yields each code as it is drawn, with the probabilities it came from.
// `kept` holds the codes of the first positions, if those are given: they are not drawn.
export async function* generate(model, options) {
  const {label = 0, guidance = 1, temperature = 1, topP = 1, greedy = false, kept = []} = options
  const {grid, depth, classes, caches} = model.config
  const rows = guidance === 1 ? [label] : [label, classes]  // with the label, and without
  const past = caches.map(shape => model.emptyCache(shape, rows.length))
  let stack = Array(depth).fill(0)
  for (let t = 0; t < grid[0]*grid[1]; t++) {              // along the raster scan
    let before = model.integers(rows, [rows.length])
    let told = rows.flatMap(() => stack)                   // the stack of the position before
    stack = []
    for (let d = 0; d < depth; d++) {                      // along depth
      const out = await model.segments[d].run({
        before, codes: model.integers(told, [rows.length, told.length/rows.length]),
        position: model.integers([t], [1]), keys: past[d].keys, values: past[d].values})
      past[d] = {keys: out.new_keys, values: out.new_values}
      let logits = out.logits.data.slice(0, model.config.codebook_size)
      if (guidance !== 1)
        logits = guide(logits, out.logits.data.slice(model.config.codebook_size), guidance)
      const p = probabilities(logits, temperature, topP)
      const code = kept[t*depth + d] ?? (greedy ? p.indexOf(Math.max(...p))
                                                : drawCode(p, options.uniforms[t*depth + d]))
      stack.push(code)
      yield {t, d, code, p, drawn: kept[t*depth + d] === undefined}
      before = out.hidden                                  // the next layers go on from here,
      told = rows.map(() => code)                          // and are told the code just drawn
    }
  }
}

// Files are stored compressed, and unpacked here, since not every server compresses by itself
async function unpack(bytes) {
  const [first, second] = new Uint8Array(bytes)
  if (first !== 0x1f || second !== 0x8b) return bytes
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))
  return new Response(stream).arrayBuffer()
}

// `read(path)` gives a file's bytes; `ort` is onnxruntime-web
export async function openModel(ort, name, read) {
  const text = new TextDecoder().decode(await read(`models/${name}/model.json`))
  const config = JSON.parse(text)
  const open = async file =>
    ort.InferenceSession.create(await unpack(await read(`models/${name}/${file}.onnx.gz`)))
  const model = {config}
  model.segments = await Promise.all(config.caches.map((_, d) => open(`segment${d}`)))
  model.decoder = await open("decoder")
  model.integers = (values, shape) => new ort.Tensor("int32", Int32Array.from(values), shape)
  model.floats = (values, shape) => new ort.Tensor("float32", Float32Array.from(values), shape)
  model.emptyCache = ([layers, heads, size], rows) => ({
    keys: model.floats([], [layers, rows, heads, 0, size]),
    values: model.floats([], [layers, rows, heads, 0, size])})
  // Grey values in -1..1 of the picture that the codes describe; `keep` says which of them count
  model.decode = async (codes, keep) => {
    const shape = [1, ...config.grid, config.depth]
    const inputs = {codes: model.integers(codes, shape), keep: model.floats(keep, shape)}
    return (await model.decoder.run(inputs)).images.data
  }
  // Codes of a picture; the encoder is fetched when it is first wanted
  model.encode = async image => {
    model.encoder ??= await open("encoder")
    const shape = [1, config.channels, ...config.resolution]
    return [...(await model.encoder.run({images: model.floats(image, shape)})).codes.data]
  }
  return model
}

// A graph that returns its input
const IDENTITY = "CAgSADo3ChAKAWESAWIiCElkZW50aXR5EgFnWg8KAWESCgoICAESBAoCCAFiDwoBYhIKCggIARIECgIIAUIECgAQEg=="

export async function startRuntime(ort, read) {
  ort.env.wasm.numThreads = 1  // more need headers that static servers do not send
  ort.env.wasm.wasmBinary = await unpack(await read("ort.wasm.gz"))
  // Opening any graph compiles the runtime: the slowest part of a first picture
  await ort.InferenceSession.create(Uint8Array.from(atob(IDENTITY), c => c.charCodeAt(0)))
}
