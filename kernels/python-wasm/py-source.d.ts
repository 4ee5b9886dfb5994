/** The build takes Python's sources in as text. */
declare module "*.py" {
  const source: string;
  export default source;
}
