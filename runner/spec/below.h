#pragma once

/* Where `path` lies below `folder`, both absolute: "a/b", or "." when it is the folder itself. '.',
 * '..' and doubled slashes are taken word by word; links are not looked at. Owned; NULL when it
 * lies elsewhere. */
char *kage_path_below(const char *folder, const char *path);
