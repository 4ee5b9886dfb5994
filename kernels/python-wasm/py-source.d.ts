/** The build imports Python sources as text. */
declare module "*.py" {
  const source: string;
  export default source;
}
