// The limit of the HTTP front end: reads each POST to its end and answers a constant.
//   node bare-uws.mjs <port> <answer file> <content type> [<json header length>]
import { readFileSync } from 'node:fs';
import uWS from 'uWebSockets.js';

const [port, answerFile, contentType, jsonLength] = process.argv.slice(2);
const answer = readFileSync(answerFile);

uWS
  .App()
  .any('/*', (res, req) => {
    res.onAborted(() => {});
    if (req.getMethod() === 'get') {
      res.end('ready');
      return;
    }
    res.onData((_chunk, isLast) => {
      if (!isLast) return;
      res.cork(() => {
        res.writeHeader('content-type', contentType);
        if (jsonLength) res.writeHeader('inference-header-content-length', jsonLength);
        res.end(answer);
      });
    });
  })
  .listen('127.0.0.1', Number(port), (socket) => {
    if (!socket) {
      console.error(`port ${port} is taken`);
      process.exit(1);
    }
  });
