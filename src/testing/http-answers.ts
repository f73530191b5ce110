/** One answer on a connection. */
export interface RawAnswer {
  status: number;
  body: string;
  /** It says that the connection ends with it. */
  closes: boolean;
}

/**
 * Takes apart what a server sent on one connection. "100 Continue" is passed over; an answer that is not whole is not told.
 *
 * @param text latin1
 * @param methods of the requests, in order: answers to HEAD have no body. Further answers are taken for a GET's.
 * @param closed the server closed the connection: an answer of unknown length is whole then
 */
export function readAnswers(text: string, methods: readonly string[], closed: boolean): RawAnswer[] {
  const answers: RawAnswer[] = [];
  let at = 0;
  for (;;) {
    const end = text.indexOf('\r\n\r\n', at);
    if (end < 0) return answers;
    const head = text.slice(at, end);
    at = end + 4;
    const status = Number(/^HTTP\/1\.[01] (\d{3})/.exec(head)?.[1]);
    if (status === 100) continue;
    const closes = /\r\nconnection: close/i.test(head);
    const length = /\r\ncontent-length: (\d+)/i.exec(head)?.[1];
    let body = '';
    if (methods[answers.length] === 'HEAD') {
      // None follows, whatever the head says.
    } else if (/\r\ntransfer-encoding: chunked/i.test(head)) {
      for (let size = -1; size !== 0; ) {
        const line = text.indexOf('\r\n', at);
        if (line < 0) return answers;
        size = Number.parseInt(text.slice(at, line), 16);
        if (!(size >= 0) || text.length < line + 4 + size) return answers;
        body += text.slice(line + 2, line + 2 + size);
        at = line + 4 + size;
      }
    } else if (length !== undefined) {
      if (text.length < at + Number(length)) return answers;
      body = text.slice(at, at + Number(length));
      at += body.length;
    } else {
      if (!closed) return answers;
      body = text.slice(at);
      at = text.length;
    }
    answers.push({ status, body, closes });
  }
}
