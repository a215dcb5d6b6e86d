#pragma once

/* Serves one editor until it says goodbye. Returns the exit code of the process. */
int kage_lsp_serve(int in, int out);
