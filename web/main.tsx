// Draws the page and sets it going.
import { render } from 'preact';
import { start } from './actions.ts';
import { App } from './app.tsx';

const place = document.querySelector('#page');
if (place) render(<App />, place);
void start();
