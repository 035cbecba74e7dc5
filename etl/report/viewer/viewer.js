// The viewer: lists volumes and lesions, and shows one volume from the store's own objects.
import { NVImage, Niivue, SLICE_TYPE } from './niivue.js'

const SHOWN_AT_ONCE = 200
// niivue loads at most this many chunks of a volume and silently leaves the rest empty.
const NIIVUE_CHUNKS = 1000
const CROSSHAIR_WIDTH = 0.5
// Indices in niivue's colours of drawings: red and green.
const BOX_COLOUR = 1
const OUTLINE_COLOUR = 2

// The store is Zarr v3. niivue requests the files of Zarr v2 first; each miss would log an error in the console.
const realFetch = window.fetch.bind(window)
window.fetch = (input, init) => {
  const address = input instanceof Request ? input.url : String(input)
  return /\/\.z(array|attrs|group)$/.test(address) ? Promise.resolve(new Response(null, { status: 404 })) : realFetch(input, init)
}

const element = (id) => document.getElementById(id)
async function readCatalogue() {
  const answer = await fetch('catalogue.json')
  if (answer.ok) return answer.json()
  element('message').textContent = await answer.text()
  element('message').hidden = false
  throw new Error(element('message').textContent)
}

const catalogue = await readCatalogue()
const { volumes, lesions } = catalogue
const volumeNumbers = new Map(volumes.volume_id.map((id, number) => [id, number]))
const lesionsOf = new Map(volumes.volume_id.map((id) => [id, []]))
lesions.volume_id.forEach((id, number) => lesionsOf.get(id).push(number))

const counted = (list, noun) => `${list.length} ${noun}${list.length === 1 ? '' : 's'}`
element('store').textContent =
  `${catalogue.store}, version ${catalogue.version}: ${counted(volumes.volume_id, 'volume')}, ${counted(lesions.lesion_id, 'lesion')}`

if (catalogue.report) {
  element('report').href = `/store/${catalogue.report}`
  element('report').hidden = false
}

const nv = new Niivue({ backColor: [0, 0, 0, 1], show3Dcrosshair: true, crosshairWidth: CROSSHAIR_WIDTH, crosshairColor: [0.3, 0.7, 1, 0.8], isRadiologicalConvention: true, showAllOrientationMarkers: true, dragAndDropEnabled: false, logLevel: 'error' })
await nv.attachToCanvas(element('canvas'))
nv.onLocationChange = () => showPosition()

let current = null

// A server that ignores ranges sends other bytes than those requested, and the voxels would be wrong.
async function checkRanges(address) {
  const answer = await fetch(address, { headers: { Range: 'bytes=2-5' } })
  const length = (await answer.arrayBuffer()).byteLength
  if (answer.status !== 206 || length !== 4) {
    throw new Error(`The server answers a range of 4 bytes with status ${answer.status} and ${length} bytes; 206 and 4 are needed. Serve the store with deeplesion serve.`)
  }
}

async function checkChunks(address) {
  const metadata = await (await fetch(`${address}/0/zarr.json`)).json()
  const sharding = metadata.codecs.find((codec) => codec.name === 'sharding_indexed')
  const chunk = sharding ? sharding.configuration.chunk_shape : metadata.chunk_grid.configuration.chunk_shape
  const count = metadata.shape.reduce((product, length, axis) => product * Math.ceil(length / chunk[axis]), 1)
  if (count > NIIVUE_CHUNKS) {
    throw new Error(`The volume has ${count} chunks; this viewer shows at most ${NIIVUE_CHUNKS}.`)
  }
}

// niivue shows a chunk that it could not read as zeros, so the HU statistics are compared with the store's.
function checkVoxels(voxels, [minimum, maximum, mean]) {
  let low = Infinity, high = -Infinity, sum = 0
  for (const value of voxels) {
    if (value < low) low = value
    if (value > high) high = value
    sum += value
  }
  const found = sum / voxels.length
  if (low !== minimum || high !== maximum || Math.abs(found - mean) > 1e-3) {
    throw new Error(`The voxels read are not the store's: ${low} to ${high} HU, mean ${found.toFixed(3)}; the table says ${minimum} to ${maximum}, mean ${mean.toFixed(3)}. Verify the store with deeplesion verify.`)
  }
}

// Voxel (i, j, k) = (x, y, z) to right, anterior, superior in mm, from the store's own (z, y, x) to left, posterior, superior.
function rasAffine(voxelToLps) {
  return voxelToLps.map((row, number) => {
    const sign = number < 2 ? -1 : 1
    return [sign * row[2], sign * row[1], sign * row[0], sign * row[3]].map((value) => value + 0)
  })
}

// niivue adds a loaded volume to the others, so volumes are loaded one after the other. Of several requests
// that wait, only the last one is opened.
let last = null
let opening = Promise.resolve()

function open(volumeId, lesionNumber = null, plane = null) {
  const request = { volumeId, lesionNumber, plane }
  last = request
  opening = opening.then(() => request === last && openAlone(request))
  return opening
}

async function openAlone({ volumeId, lesionNumber, plane }) {
  element('message').hidden = true
  element('plane').disabled = true
  try {
    if (current?.volumeId !== volumeId) await load(volumeId)
    await show(lesionNumber, plane)
  } catch (error) {
    clear()
    element('message').textContent = error.message
    element('message').hidden = false
    element('position').textContent = ''
  }
  for (const button of element('list').querySelectorAll('button')) {
    button.setAttribute('aria-current', button.dataset.key === `${volumeId} ${lesionNumber ?? ''}`)
  }
}

function clear() {
  current = null
  for (const loaded of [...nv.volumes]) nv.removeVolume(loaded)
  nv.closeDrawing()
}

async function load(volumeId) {
  const number = volumeNumbers.get(volumeId)
  const address = new URL(`/store/${volumes.path[number]}`, location.href).href
  clear()
  element('position').textContent = `Reading ${volumeId} ...`
  await checkRanges(`${address}/0/c/0/0/0`)
  await checkChunks(address)
  const group = await (await fetch(`${address}/zarr.json`)).json()
  const shape = volumes.shape[number]
  const whole = await loadWhole({ url: address, name: `${volumeId}.zarr`, zarrLevel: 0, zarrMaxVolumeSize: Math.max(...shape) })
  checkVoxels(whole.img, volumes.hu[number])
  whole.hdr.affine = rasAffine(group.attributes.deeplesion.voxel_to_lps_mm)
  whole.calculateRAS()
  nv.updateGLVolume()
  const positions = catalogue.positions ? await (await fetch(`/positions/${number}`)).json() : null
  current = { volumeId, shape, spacing: volumes.spacing_mm[number], lesion: null, positions }
  element('plane').max = shape[0] - 1
}

// Shows a lesion on its plane; without a lesion the given plane, or the middle one.
function show(lesionNumber, plane) {
  element('plane').disabled = false
  current.lesion = lesionNumber
  if (lesionNumber === null) {
    setWindow(element('window').value.split(' ').map(Number))
    const [z, y, x] = current.shape.map((length) => Math.floor(length / 2))
    goTo([plane ?? z, y, x])
  } else {
    const [y1, x1, y2, x2] = lesions.box_vox[lesionNumber]
    setWindow(lesions.window_hu[lesionNumber])
    goTo([Math.round(lesions.z_vox[lesionNumber]), Math.round((y1 + y2) / 2), Math.round((x1 + x2) / 2)])
  }
  const marked = markLesion()
  element('similar').hidden = lesionNumber === null
  element('over-time').hidden = lesionNumber === null || !catalogue.over_time
  if (lesionNumber !== null) {
    element('similar').href = `/similar/${lesions.lesion_id[lesionNumber]}`
    element('over-time').href = `/patient/${Number(current.volumeId.split('_')[0])}`
  }
  return marked
}

async function loadWhole(options) {
  const image = await NVImage.loadFromUrl(options)
  const whole = new Promise((resolve) => { image.zarrHelper.onAllChunksLoaded = resolve })
  nv.addVolume(image)
  // Drawing waits for all chunks: a missing chunk would look like zeros.
  image.zarrHelper.onChunksUpdated = undefined
  await whole
  return image
}

// All three axes of the store run opposite to niivue's (right, anterior, superior).
const turned = ([z, y, x]) => [x, y, z].map((value, axis) => current.shape[2 - axis] - 1 - value)

function goTo(voxel) {
  const inside = voxel.map((value, axis) => Math.min(Math.max(value, 0), current.shape[axis] - 1))
  nv.scene.crosshairPos = nv.vox2frac(turned(inside))
  nv.drawScene()
  showPosition()
}

// The voxel (z, y, x) of the stored volume at the crosshair.
function voxelAtCrosshair() {
  const [x, y, z] = nv.frac2vox(nv.scene.crosshairPos)
  return [current.shape[0] - 1 - z, current.shape[1] - 1 - y, current.shape[2] - 1 - x]
}

// The HU that the viewer shows for a voxel (z, y, x) of the open volume.
function valueAt(z, y, x) {
  return nv.volumes[0].getValue(...turned([z, y, x]))
}

// Where in the body a plane lies, by the source slice that is nearest to it; empty where it was not scored.
function inTheBody(plane) {
  const { mm = [], norm_z: z = [], region = [], order = '' } = current.positions ?? {}
  if (!mm.length) return ''
  const at = plane * current.spacing[0]
  let nearest = 0
  mm.forEach((value, slice) => { if (Math.abs(value - at) < Math.abs(mm[nearest] - at)) nearest = slice })
  if (z[nearest] === null) return ''
  const trust = order === 'ok' ? '' : `, not to be trusted: ${order.replaceAll('_', ' ')}`
  return `; ${region[nearest] ?? 'position'}, relative z ${z[nearest].toFixed(3)}${trust}`
}

function showPosition() {
  if (!current) return
  const voxel = voxelAtCrosshair()
  element('plane').value = voxel[0]
  const mm = voxel.map((value, axis) => (value * current.spacing[axis]).toFixed(1))
  const lesion = current.lesion === null ? '' : `, lesion ${lesions.lesion_id[current.lesion]}`
  element('position').textContent =
    `${current.volumeId}${lesion}: ${valueAt(...voxel)} HU at voxel (${voxel.join(', ')}) of (${current.shape.join(', ')}), (${mm.join(', ')}) mm; z, y, x${inTheBody(voxel[0])}`
}

function setWindow([low, high]) {
  const value = `${low} ${high}`
  const choice = element('window')
  if (![...choice.options].some((option) => option.value === value)) {
    choice.add(new Option(`this lesion's, ${low} to ${high} HU`, value))
  }
  choice.value = value
  if (current) {
    nv.volumes[0].cal_min = low
    nv.volumes[0].cal_max = high
    nv.updateGLVolume()
  }
}

// The pixels (y, x) inside the image of both RECIST diameters, given as y1, x1, y2, x2 of each.
function diameters(ends) {
  const [, rows, columns] = current.shape
  const pixels = []
  for (const [y1, x1, y2, x2] of [ends.slice(0, 4), ends.slice(4)]) {
    const steps = Math.max(Math.ceil(Math.abs(y2 - y1)), Math.ceil(Math.abs(x2 - x1)), 1)
    for (let step = 0; step <= steps; step++) {
      pixels.push([y1 + (y2 - y1) * step / steps, x1 + (x2 - x1) * step / steps].map(Math.round))
    }
  }
  return pixels.filter(([y, x]) => y >= 0 && x >= 0 && y < rows && x < columns)
}

// Draws the box and the diameters of the open lesion on its plane, and the outline of its mask, if others drew one.
async function markLesion() {
  const outline = current.lesion !== null && lesions.has_mask[current.lesion] ? await outlineOf(current.lesion) : []
  nv.createEmptyDrawing()
  if (current.lesion !== null) {
    const ends = lesions.box_vox[current.lesion].map(Math.round)
    const [top, left, bottom, right] = ends.map((value, number) => Math.min(Math.max(value, 0), current.shape[1 + (number % 2)] - 1))
    const z = Math.min(Math.round(lesions.z_vox[current.lesion]), current.shape[0] - 1)
    for (const voxel of outline) nv.drawBitmap[drawingIndex(voxel)] = OUTLINE_COLOUR
    const mark = (y, x) => { nv.drawBitmap[drawingIndex([z, y, x])] = BOX_COLOUR }
    for (let x = left; x <= right; x++) [top, bottom].forEach((y) => mark(y, x))
    for (let y = top; y <= bottom; y++) [left, right].forEach((x) => mark(y, x))
    diameters(lesions.recist_vox[current.lesion]).forEach(([y, x]) => mark(y, x))
  }
  showMarks()
  nv.refreshDrawing(true)
}

// The place of a voxel (z, y, x) in niivue's drawing.
function drawingIndex(voxel) {
  const [i, j, k] = turned(voxel)
  const [, rows, columns] = current.shape
  return i + columns * (j + rows * k)
}

async function outlineOf(lesionNumber) {
  const answer = await fetch(`/outline/${lesions.lesion_id[lesionNumber]}`)
  if (!answer.ok) throw new Error(`The mask of lesion ${lesions.lesion_id[lesionNumber]} can't be read: ${await answer.text()}`)
  return answer.json()
}

function showMarks() {
  const [opacity, width] = element('marks').checked ? [0.9, CROSSHAIR_WIDTH] : [0, 0]
  // Each of these draws again.
  if (nv.drawOpacity !== opacity) nv.setDrawOpacity(opacity)
  if (nv.opts.crosshairWidth !== width) nv.setCrosshairWidth(width)
}

function list() {
  const words = element('search').value.toLowerCase().split(/[\s,]+/).filter(Boolean)
  const rows = []
  let found = 0
  volumes.volume_id.forEach((id, number) => {
    const inside = lesionsOf.get(id)
    const matches = (text) => words.every((word) => text.includes(word))
    const shown = inside.filter((lesion) => matches(`${id} ${lesions.lesion_id[lesion]} ${lesions.type[lesion] ?? 'unlabelled'} ${lesions.split[lesion]}`))
    if (!shown.length && !matches(id)) return
    found += 1
    if (rows.length >= SHOWN_AT_ONCE) return
    rows.push(row('volume', id, null, `${id}  ${volumes.shape[number].join(' x ')}`))
    for (const lesion of shown) {
      const type = lesions.type[lesion] ?? 'unlabelled'
      rows.push(row('lesion', id, lesion, `lesion ${lesions.lesion_id[lesion]}: ${type}, ${lesions.long_diameter_mm[lesion]} mm, ${lesions.split[lesion]}`))
    }
  })
  element('list').replaceChildren(...rows)
  element('found').textContent = rows.length < SHOWN_AT_ONCE ? `${found} volumes` : `${found} volumes; only the first are listed`
}

function row(kind, id, lesion, text) {
  const item = document.createElement('li')
  const button = document.createElement('button')
  button.className = kind
  button.textContent = text
  button.dataset.key = `${id} ${lesion ?? ''}`
  button.addEventListener('click', () => open(id, lesion))
  item.append(button)
  return item
}

function setView() {
  nv.setSliceType(element('view').value === 'axial' ? SLICE_TYPE.AXIAL : SLICE_TYPE.MULTIPLANAR)
}

element('theme').addEventListener('click', () => {
  const style = document.documentElement.style
  const isDark = style.colorScheme ? style.colorScheme === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches
  style.colorScheme = isDark ? 'light' : 'dark'
})
element('search').addEventListener('input', list)
element('window').addEventListener('change', (event) => setWindow(event.target.value.split(' ').map(Number)))
element('view').addEventListener('change', setView)
element('marks').addEventListener('change', showMarks)
element('plane').addEventListener('input', (event) => {
  const [, y, x] = voxelAtCrosshair()
  goTo([Number(event.target.value), y, x])
})
setView()
list()

// Links have the form #volume_id, #volume_id/lesion_id or #volume_id/z=plane. Without one, the first lesion is shown.
async function follow() {
  const [id, part] = decodeURIComponent(location.hash.slice(1)).split('/')
  if (!id && lesions.lesion_id.length) return open(lesions.volume_id[0], 0)
  if (!volumeNumbers.has(id)) {
    element('message').textContent = id ? `Version ${catalogue.version} of the store has no volume ${id}. Choose one from the list.` : 'Choose a volume from the list.'
    element('message').hidden = false
    return
  }
  const lesion = lesionsOf.get(id).find((number) => String(lesions.lesion_id[number]) === part)
  const plane = /^z=(\d+)$/.exec(part ?? '')
  await open(id, lesion ?? null, plane && Number(plane[1]))
}
addEventListener('hashchange', follow)
await follow()

// The mark on a voxel (z, y, x): 0 for none.
const markAt = (...voxel) => nv.drawBitmap[drawingIndex(voxel)]

window.viewer = { open, valueAt, markAt, isMarked: (...voxel) => markAt(...voxel) > 0, voxelAtCrosshair, shown: () => nv.volumes.map((volume) => volume.name) }
