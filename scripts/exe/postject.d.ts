/** The part of postject that the scripts use; the package has no types. */
declare module "postject" {
  export function inject(
    filename: string,
    resourceName: string,
    resourceData: Buffer,
    options?: { readonly sentinelFuse?: string },
  ): Promise<void>;
}
