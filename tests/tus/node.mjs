// tus-js-client in Node: `node node.mjs JOB`, where JOB is JSON with `scenario`, `file`, `source` ("file", "buffer" or
// "stream"), `beyond`, `store` (a path for stored URLs) and `options`. Prints the result as one line of JSON.

import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import { Readable } from 'node:stream'
import { fileURLToPath } from 'node:url'

import * as tus from 'tus-js-client'

import * as scenarios from './scenarios.mjs'

const inputs = {
  file: (path) => fs.createReadStream(path),
  buffer: (path) => fs.readFileSync(path),
  stream: (path) => Readable.from(fs.createReadStream(path), { objectMode: false }),
}

function run(scenario, job) {
  const urlStorage = new tus.FileUrlStorage(job.store)
  return scenarios[scenario](tus, inputs[job.source](job.file), { ...job.options, urlStorage }, job.beyond)
}

/** A process of its own begins the upload and is killed in the middle of it. */
function begin(job) {
  const again = [fileURLToPath(import.meta.url), JSON.stringify({ ...job, scenario: 'killed' })]
  const { signal, stdout, stderr } = spawnSync(process.execPath, again, { encoding: 'utf8' })
  if (signal !== 'SIGKILL') throw new Error(`not killed: ${stderr}`)
  return JSON.parse(stdout)
}

const jobs = {
  async killed(job) {
    fs.writeSync(1, JSON.stringify(await run('leave', job)))
    process.kill(process.pid, 'SIGKILL')
  },
  reload(job) {
    begin(job)
    return run('stored', job)
  },
  url(job) {
    const { url } = begin(job)
    return run('whole', { ...job, options: { ...job.options, endpoint: null, uploadUrl: url } })
  },
}

const job = JSON.parse(process.argv[2])
try {
  const result = await (jobs[job.scenario]?.(job) ?? run(job.scenario, job))
  const protocols = [...new Set(result.answers.map(({ protocol }) => protocol).filter(Boolean))]
  console.log(JSON.stringify({ ...result, protocols }))
} catch (error) {
  console.error(error.message)
  process.exitCode = 1
}
