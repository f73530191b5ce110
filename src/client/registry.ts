import { type ClientOptions, parseAnswer, send } from './transport.ts';

export interface ServedRow {
  served: string;
  name: string;
  version: string;
  alias: string;
  state: string;
  problem: string;
  since: number;
  until: number | null;
}

export interface GatewayRow {
  gateway_id: string;
  host: string;
  program_version: string;
  last_seen: number;
  away: boolean;
  models: ServedRow[];
}

export interface MoveRow {
  /** Of the model at the time of the move. */
  name: string;
  version: string | null;
  previous: string | null;
  at: number;
  actor: string;
  reason: string;
}

export interface Served {
  alias: string;
  version: string | null;
  since: number;
  until: number | null;
  actor: string;
  reason: string;
  approvals: { state: string; actor: string; at: number; reason: string }[];
  evidence: { kind: string; outcome: string; at: number }[];
  gateways: { gateway_id: string; served: string; since: number; until: number | null }[];
}

export interface Promotion {
  version: string;
  /** The move happens only if the alias points there; null: only if it is new. Undefined: in any case. */
  expectedVersion?: string | null;
  reason: string;
}

type Paged<K extends string, T> = { [P in K]: T[] } & { next_page_token?: string };

/** The registry's own API. Every call rejects with ClientError. */
export class RegistryApi {
  private readonly options: ClientOptions;

  constructor(options: ClientOptions) {
    this.options = options;
  }

  /** @param awayDays those away for longer are left out; undefined: as the server has it */
  gateways(awayDays?: number): Promise<GatewayRow[]> {
    return this.all('gateways', 'gateways', awayDays === undefined ? '' : `&away_days=${awayDays}`);
  }

  forgetGateway(gateway: string): Promise<object> {
    return this.call('DELETE', `gateways/${encodeURIComponent(gateway)}`);
  }

  modelGateways(model: string): Promise<(ServedRow & { gateway_id: string })[]> {
    return this.all(`models/${encodeURIComponent(model)}/gateways`, 'gateways');
  }

  history(model: string, alias: string): Promise<MoveRow[]> {
    return this.all(`${aliasPath(model, alias)}/history`, 'moves');
  }

  /** @param at milliseconds or an ISO time; '' = now */
  served(model: string, alias: string, at: string): Promise<Served> {
    const query = at === '' ? '' : `?at=${encodeURIComponent(at)}`;
    return this.call('GET', `${aliasPath(model, alias)}/served${query}`);
  }

  /** As `served`, for every alias that pointed to a version then. */
  async allServed(model: string, at: string): Promise<{ at: number; aliases: Served[] }> {
    const query = at === '' ? '' : `?at=${encodeURIComponent(at)}`;
    return this.call('GET', `models/${encodeURIComponent(model)}/served${query}`);
  }

  lineage(model: string, version: string): Promise<object> {
    return this.call('GET', `${versionPath(model, version)}/lineage`);
  }

  promote(model: string, alias: string, { version, expectedVersion, reason }: Promotion): Promise<{ moved: boolean }> {
    const condition = expectedVersion === undefined ? {} : { expected_version: expectedVersion };
    return this.call('PUT', aliasPath(model, alias), { version, reason, ...condition });
  }

  decide(model: string, version: string, state: string, reason: string): Promise<object> {
    return this.call('PUT', `${versionPath(model, version)}/approval`, { state, reason });
  }

  sign(model: string, version: string): Promise<{ key_id: string }> {
    return this.call('POST', `${versionPath(model, version)}/signature`);
  }

  private async all<K extends string, T>(path: string, key: K, more = ''): Promise<T[]> {
    const rows: T[] = [];
    let token = '';
    do {
      const page = await this.call<Paged<K, T>>(
        'GET',
        `${path}?limit=1000&page_token=${encodeURIComponent(token)}${more}`,
      );
      rows.push(...page[key]);
      token = page.next_page_token ?? '';
    } while (token !== '');
    return rows;
  }

  private async call<T>(method: string, path: string, body?: object): Promise<T> {
    const text = body === undefined ? undefined : JSON.stringify(body);
    return parseAnswer<T>((await send(this.options, method, `/api/v1/registry/${path}`, text)).text, this.options.url);
  }
}

function aliasPath(model: string, alias: string): string {
  return `models/${encodeURIComponent(model)}/aliases/${encodeURIComponent(alias)}`;
}

function versionPath(model: string, version: string): string {
  return `models/${encodeURIComponent(model)}/versions/${encodeURIComponent(version)}`;
}
