import type { Identity } from '../../../admission/admission.ts';
import { SwitchyardError } from '../../../shared/errors.ts';
import type { HttpExchange, RequestHead, RequestListener } from '../socket.ts';
import { respondError, respondJson } from './answers.ts';
import { authenticate } from './authenticate.ts';
import type { HttpGateway } from './settings.ts';

/** Who may ask: 'any' needs a known caller, 'control' one with that role. Nobody is asked while admission is off. */
export type Audience = 'any' | 'control';

/**
 * Every request that is no inference: authenticate, take the body, answer with a JSON document. `produce` gets the
 * whole body as its own and who asks, and may throw or reject with SwitchyardError.
 */
export class DocumentCall implements RequestListener {
  protected readonly gateway: HttpGateway;
  protected readonly exchange: HttpExchange;
  private readonly audience: Audience;
  private readonly produce: (body: Uint8Array, tenant: string) => unknown;
  private tenant = 'default';
  private allowed = false;
  private ended = false;
  private body: Uint8Array | undefined;

  constructor(
    gateway: HttpGateway,
    exchange: HttpExchange,
    audience: Audience,
    produce: (body: Uint8Array, tenant: string) => unknown,
  ) {
    this.gateway = gateway;
    this.exchange = exchange;
    this.audience = audience;
    this.produce = produce;
  }

  /** Must be called inside `onRequest`, while `head` is valid. */
  start(head: RequestHead): void {
    const admission = this.gateway.services.admission;
    if (!admission.enabled) {
      this.allowed = true;
    } else {
      authenticate(
        this.gateway,
        head,
        (identity) => this.authorize(identity),
        (error) => this.fail(error),
      );
    }
    if (!this.ended) this.exchange.receive(this);
  }

  private authorize(identity: Identity): void {
    if (this.ended) return;
    if (this.audience === 'control' && !identity.roles.includes('control')) {
      this.fail(new SwitchyardError('permission_denied', "this needs a caller with the role 'control'"));
      return;
    }
    this.allowed = true;
    this.tenant = identity.tenant;
    if (this.body !== undefined) this.run(this.body);
  }

  onBody(body: Uint8Array, owned: boolean): void {
    if (this.ended) return;
    this.body = owned ? body : Buffer.from(body);
    if (this.allowed) this.run(this.body);
  }

  private run(body: Uint8Array): void {
    this.body = undefined;
    try {
      const result = this.produce(body, this.tenant);
      if (result instanceof Promise) {
        result.then(
          (document) => this.answer(document),
          (error) => this.fail(error),
        );
      } else {
        this.answer(result);
      }
    } catch (error) {
      this.fail(error);
    }
  }

  onAbort(): void {
    this.ended = true;
    this.body = undefined;
  }

  private answer(document: unknown): void {
    if (this.ended) return;
    this.ended = true;
    this.respond(document);
  }

  protected respond(document: unknown): void {
    respondJson(this.exchange, document);
  }

  protected refuse(error: unknown): void {
    respondError(this.exchange, error, this.gateway.settings);
  }

  private fail(error: unknown): void {
    if (this.ended) return;
    this.ended = true;
    this.body = undefined;
    this.refuse(error);
  }
}
