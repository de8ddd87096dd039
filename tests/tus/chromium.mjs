// tus-js-client in a page of the gateway, in headless Chromium: `node chromium.mjs JOB`, where JOB is that of node.mjs and
// has `page`, `executable`, `certificate` and `pace` besides. Prints the result as one line of JSON.

import { createHash, X509Certificate } from 'node:crypto'
import fs from 'node:fs'
import { fileURLToPath } from 'node:url'

import { chromium } from 'playwright-core'

const beside = (name) => fileURLToPath(new URL(name, import.meta.url))

/** The one certificate that Chromium takes although no authority it knows has signed it. */
function pin(path) {
  const key = new X509Certificate(fs.readFileSync(path)).publicKey.export({ type: 'spki', format: 'der' })
  return createHash('sha256').update(key).digest('base64')
}

/** Sends are held to a pace, so that an upload lasts long enough to be cut within one request. */
async function pace(page, bytesPerSecond) {
  const session = await page.context().newCDPSession(page)
  await session.send('Network.enable')
  await session.send('Network.emulateNetworkConditions', {
    offline: false,
    latency: 0,
    downloadThroughput: -1,
    uploadThroughput: bytesPerSecond,
  })
}

/** What a page of an application would hold: the library, the scenarios, and a file that was chosen. */
async function prepare(page, job) {
  await page.addScriptTag({ path: beside('node_modules/tus-js-client/dist/tus.min.js') })
  await page.evaluate(async (source) => {
    const url = URL.createObjectURL(new Blob([source], { type: 'text/javascript' }))
    globalThis.scenarios = await import(url)
    document.body.append(Object.assign(document.createElement('input'), { type: 'file' }))
  }, fs.readFileSync(beside('scenarios.mjs'), 'utf8'))
  await page.locator('body > input[type=file]').setInputFiles(job.file)
}

const run = (page, scenario, job) =>
  page.evaluate(
    ([scenario, { source, options, beyond }]) => {
      const [file] = document.querySelector('body > input[type=file]').files
      const input = source === 'stream' ? file.stream().getReader() : file
      return scenarios[scenario](tus, input, options, beyond)
    },
    [scenario, job],
  )

async function again(page, job) {
  await page.reload()
  await prepare(page, job)
}

const jobs = {
  async reload(page, job) {
    await run(page, 'leave', job)
    await again(page, job)
    return run(page, 'stored', job)
  },
  async url(page, job) {
    const { url } = await run(page, 'leave', job)
    await again(page, job)
    return run(page, 'whole', { ...job, options: { ...job.options, endpoint: null, uploadUrl: url } })
  },
}

/** How the requests that were answered had come over, as the browser saw it. */
const protocols = (page) =>
  page.evaluate(() => {
    const requests = performance.getEntriesByType('resource').filter((each) => each.initiatorType === 'xmlhttprequest')
    return [...new Set(requests.filter((each) => each.responseStatus).map((each) => each.nextHopProtocol))]
  })

const job = JSON.parse(process.argv[2])
const browser = await chromium.launch({
  executablePath: job.executable,
  args: [`--ignore-certificate-errors-spki-list=${pin(job.certificate)}`],
})
try {
  const page = await browser.newPage()
  await page.goto(job.page)
  await pace(page, job.pace)
  await prepare(page, job)
  const result = await (jobs[job.scenario]?.(page, job) ?? run(page, job.scenario, job))
  console.log(JSON.stringify({ ...result, protocols: await protocols(page) }))
} catch (error) {
  console.error(error.message)
  process.exitCode = 1
} finally {
  await browser.close()
}
