// What a client does with one upload, told in tus-js-client's own calls. The same code runs in Node and in a page: `tus`
// is the library there, `input` what is uploaded, and `beyond` how many bytes are on their way when an upload is cut.

class Watched {
  constructor(tus, input, options) {
    this.answers = []
    this.ended = new Promise((resolve, reject) => {
      this.upload = new tus.Upload(input, {
        ...options,
        onSuccess: () => resolve(true),
        onError: reject,
        onProgress: (sent) => this.progress(sent),
        onAfterResponse: (request, response) => {
          this.answers.push(told(request, response))
        },
      })
    })
    this.progress = () => {}
  }

  /** Resolves when more than `bytes` are sent; rejects where that never happens. */
  async sent(bytes) {
    const reached = new Promise((resolve) => {
      this.progress = (sent) => sent > bytes && resolve(false)
    })
    this.upload.start()
    if (await Promise.race([this.ended, reached])) throw new Error(`the upload ended before it was cut at ${bytes}`)
  }

  async finish() {
    this.upload.start()
    await this.ended
  }

  result() {
    return { url: this.upload.url, answers: this.answers }
  }
}

function told(request, response) {
  const underlying = response.getUnderlyingObject()
  return {
    method: request.getMethod(),
    status: response.getStatus(),
    at: request.getHeader('Upload-Offset') ?? null,
    offset: response.getHeader('Upload-Offset') ?? null,
    protocol: underlying.httpVersion ? `http/${underlying.httpVersion}` : null,
  }
}

// One turn of the event loop: the request that was aborted says so before the next begins.
const turn = () => new Promise((resolve) => setTimeout(resolve))

/** From the first byte to the last. */
export async function whole(tus, input, options) {
  const watched = new Watched(tus, input, options)
  await watched.finish()
  return watched.result()
}

/** Paused in the middle, and resumed by the same object. */
export async function pause(tus, input, options, beyond) {
  const watched = new Watched(tus, input, options)
  await watched.sent(beyond)
  await watched.upload.abort()
  await turn()
  await watched.finish()
  return watched.result()
}

/** Begun, and left as it is: the process or the page is about to end. */
export async function leave(tus, input, options, beyond) {
  const watched = new Watched(tus, input, options)
  await watched.sent(beyond)
  return watched.result()
}

/** Resumed with what is stored of an earlier process or page. */
export async function stored(tus, input, options) {
  const watched = new Watched(tus, input, options)
  const previous = await watched.upload.findPreviousUploads()
  if (previous.length !== 1) throw new Error(`${previous.length} uploads are stored`)
  watched.upload.resumeFromPreviousUpload(previous[0])
  await watched.finish()
  return watched.result()
}

/** Cut in the middle and taken back: the last answer is what its URL says then. */
export async function terminate(tus, input, options, beyond) {
  const watched = new Watched(tus, input, options)
  await watched.sent(beyond)
  await watched.upload.abort(true)
  const after = await fetch(watched.upload.url, { method: 'HEAD', headers: { 'Tus-Resumable': '1.0.0' } })
  watched.answers.push({ method: 'HEAD', status: after.status, at: null, offset: null, protocol: null })
  return watched.result()
}
