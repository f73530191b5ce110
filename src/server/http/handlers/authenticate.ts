import type { Identity } from '../../../admission/admission.ts';
import type { RequestHead } from '../socket.ts';
import type { HttpGateway } from './settings.ts';

/**
 * Asks who sends the request: `known` gets the identity, at once or later, `failed` why there is none. Must be called inside `onRequest`, while `head` is valid. Errors of `known` reach `failed` too
 * where it is called at once.
 */
export function authenticate(
  gateway: HttpGateway,
  head: RequestHead,
  known: (identity: Identity) => void,
  failed: (error: unknown) => void,
): void {
  try {
    const identity = gateway.services.admission.authenticate({
      authorization: head.authorization,
      apiKey: head.apiKey,
      certificateName: head.certificateName(),
    });
    if (identity instanceof Promise) identity.then(known, failed);
    else known(identity);
  } catch (error) {
    failed(error);
  }
}
