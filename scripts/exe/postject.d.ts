/** postject has no types of its own; this is as much of it as we use. */
declare module "postject" {
  export function inject(
    filename: string,
    resourceName: string,
    resourceData: Buffer,
    options?: { readonly sentinelFuse?: string },
  ): Promise<void>;
}
