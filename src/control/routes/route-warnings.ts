import { variantKey } from '../../config/load-routes.ts';
import type { RouteDocument } from '../../config/route-schema.ts';
import type { ServingTable } from '../../pipeline/types.ts';

export interface RouteWarning {
  route: string;
  model: string;
  message: string;
}

export interface KnownModels {
  models: ServingTable['models'];
  /** Of all models, loaded or not. */
  names: ReadonlySet<string>;
  /** Where variants stand in their files, by `variantKey`. */
  places: ReadonlyMap<string, string>;
  /** The versions that variants are served by now; '' for none. */
  versions(document: RouteDocument): Record<string, string>;
}

/**
 * What routes name and is not there, as of now. At a start models may still be loading, and a version may be rolled out
 * after the route that names it: neither is refused then. A reload refuses models that nobody has.
 */
export function warningsOf(
  routes: readonly { name: string; document: RouteDocument }[],
  { models, names, places, versions }: KnownModels,
): RouteWarning[] {
  return routes.flatMap(({ name: route, document }) => {
    const served = versions(document);
    return Object.entries(document.spec.variants).flatMap(([variant, { model, version, alias }]) => {
      const say = (setting: string, what: string): RouteWarning[] => {
        const place = places.get(variantKey(route, variant)) ?? '';
        const message = `${place}: route ${route}: spec.variants.${variant}.${setting}: ${what}`;
        return [{ route, model, message }];
      };
      if (!names.has(model) && !models.has(model))
        return say('model', `no model is called ${JSON.stringify(model)} (yet); load it, or correct the name`);
      if (served[variant] !== '') return [];
      const loaded = models.get(model)?.versions.map((entry) => entry.version) ?? [];
      const known = `loaded of ${model}: ${loaded.sort().join(', ') || 'none'}`;
      if (alias !== undefined)
        return say('alias', `alias ${JSON.stringify(alias)} leads to no loaded version (yet); ${known}`);
      if (version === undefined) return say('model', `no version is loaded (yet) of ${model}`);
      return say('version', `version ${JSON.stringify(version)} is not loaded (yet); ${known}`);
    });
  });
}
