// The script of the worker that runs a model in a browser tab: one file, with the engine's two beside it.
import { answerOn } from './answering.ts';
import { openWith } from './opening.ts';

answerOn(globalThis, openWith(new URL('.', import.meta.url).href));
