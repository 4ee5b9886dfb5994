/// <reference types="vite/client" />
interface ImportMetaEnv {
  readonly VITE_KALLICHORE_URL?: string;
}
