'use strict'
const element = (id) => document.getElementById(id)
const root = document.documentElement

element('theme').addEventListener('click', () => {
  const dark = getComputedStyle(root).colorScheme === 'dark' ||
    (getComputedStyle(root).colorScheme !== 'light' && matchMedia('(prefers-color-scheme: dark)').matches)
  root.style.colorScheme = dark ? 'light' : 'dark'
})

const figures = [...document.querySelectorAll('#figures > figure')]
const lesionsOf = new Map(figures.map((figure) => [figure, JSON.parse(figure.dataset.lesions)]))

function filter() {
  const type = element('by-type').value
  const split = element('by-split').value
  const [low, high] = element('by-size').value.split(' ').map(Number)
  const wanted = (lesion) => (!type || lesion.type === type) && lesion.long_mm >= low && lesion.long_mm < high
  let shown = 0
  for (const figure of figures) {
    figure.hidden = (split && figure.dataset.split !== split) || !lesionsOf.get(figure).some(wanted)
    shown += !figure.hidden
  }
  element('shown').textContent = `${shown} shown`
}
for (const id of ['by-type', 'by-split', 'by-size']) element(id).addEventListener('change', filter)
element('marks').addEventListener('change', (event) => document.body.classList.toggle('unmarked', !event.target.checked))
element('filter').addEventListener('submit', (event) => event.preventDefault())
filter()

// A link from a check shows its picture even if the filter hides it.
addEventListener('hashchange', () => {
  const figure = document.querySelector(`${CSS.escape(location.hash).replace('\\#', '#')}`)?.closest('figure.slice')
  if (figure?.hidden) {
    element('filter').reset()
    document.body.classList.remove('unmarked')
    filter()
    figure.scrollIntoView()
  }
})

const large = element('large')
document.querySelector('main').addEventListener('click', (event) => {
  const plane = event.target.closest('.plane')
  if (!plane) return
  element('stage').replaceChildren(plane.cloneNode(true))
  large.classList.remove('zoomed')
  large.showModal()
})
element('close').addEventListener('click', () => large.close())
element('zoom').addEventListener('click', () => large.classList.toggle('zoomed'))
element('stage').addEventListener('click', () => large.classList.toggle('zoomed'))
large.addEventListener('click', (event) => { if (event.target === large) large.close() })

// `deeplesion serve` serves the viewer next to this page.
if (location.pathname.startsWith('/store/reports/')) {
  for (const link of document.querySelectorAll('.view')) {
    link.href = `/viewer/#${encodeURI(link.dataset.view)}`
    link.hidden = false
  }
  for (const link of document.querySelectorAll('.served')) {
    link.href = link.dataset.to
    link.hidden = false
  }
  element('viewing').hidden = true
}

addEventListener('beforeprint', () => document.querySelectorAll('details').forEach((part) => { part.open = true }))
