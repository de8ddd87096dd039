// @tus/server as its documentation has it, on the disk, over TLS (HTTP/2 and HTTP/1.1); a file is named as its sender says.
import { mkdirSync, readFileSync } from 'node:fs'
import { createSecureServer } from 'node:http2'
import { FileStore } from '@tus/file-store'
import { Server } from '@tus/server'

const [host, port, directory, cert, key] = process.argv.slice(2)
mkdirSync(directory, { recursive: true })
const tus = new Server({
  path: '/files',
  datastore: new FileStore({ directory }),
  namingFunction: (_, metadata) => metadata.filename,
  getFileIdFromRequest: (request, path) => decodeURIComponent(path ?? new URL(request.url).pathname.slice('/files/'.length)),
})
const options = { allowHTTP1: true, cert: readFileSync(cert), key: readFileSync(key) }
createSecureServer(options, (request, response) => tus.handle(request, response)).listen(Number(port), host)
