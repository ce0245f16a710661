// @ts-check
// The worker, the engine's files and the model's go to the page as they are: public/ holds copies of them.
import { cpSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vite';

const worker = fileURLToPath(new URL('.', import.meta.resolve('lfm/worker')));
const model = fileURLToPath(new URL('.', import.meta.resolve('@lfm/brook-123m/package.json')));
cpSync(worker, 'public/lfm', { recursive: true });
cpSync(model, 'public/models/brook-123m', { recursive: true, dereference: true });

// With these two the browser gives the page memory that threads share. Without them the model runs on one thread.
const headers =
  process.env.ISOLATED === '0'
    ? {}
    : { 'cross-origin-opener-policy': 'same-origin', 'cross-origin-embedder-policy': 'require-corp' };

export default defineConfig({ server: { headers }, preview: { headers } });
