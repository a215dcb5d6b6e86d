#include "runner/lsp/server.h"

#include <stdbool.h>
#include <string.h>

#include "runner/lsp/features.h"
#include "runner/lsp/wire.h"

/* Error codes of JSON-RPC 2.0 and LSP 3.17. */
enum { INVALID_REQUEST = -32600, METHOD_NOT_FOUND = -32601, NOT_INITIALIZED = -32002 };

struct server {
    int out;
    bool initialized, shut_down, done;
    struct kage_documents documents;
};

static void reply(struct server *s, const cJSON *id, cJSON *result)
{
    cJSON *m = cJSON_CreateObject();
    cJSON_AddStringToObject(m, "jsonrpc", "2.0");
    cJSON_AddItemToObject(m, "id", cJSON_Duplicate(id, true));
    cJSON_AddItemToObject(m, "result", result ? result : cJSON_CreateNull());
    s->done |= kage_lsp_write(s->out, m) < 0;
}

static void refuse(struct server *s, const cJSON *id, int code, const char *message)
{
    cJSON *m = cJSON_CreateObject();
    cJSON_AddStringToObject(m, "jsonrpc", "2.0");
    cJSON_AddItemToObject(m, "id", cJSON_Duplicate(id, true));
    cJSON *error = cJSON_AddObjectToObject(m, "error");
    cJSON_AddNumberToObject(error, "code", code);
    cJSON_AddStringToObject(error, "message", message);
    s->done |= kage_lsp_write(s->out, m) < 0;
}

static const cJSON *get(const cJSON *from, const char *key)
{
    return cJSON_GetObjectItemCaseSensitive(from, key);
}

static const char *uri_of(const cJSON *params)
{
    return cJSON_GetStringValue(get(get(params, "textDocument"), "uri"));
}

/* Code points are what kage counts; UTF-16 is what every client knows. */
static bool counts_code_points(const cJSON *params)
{
    const cJSON *list = get(get(get(params, "capabilities"), "general"), "positionEncodings");
    const cJSON *item;
    cJSON_ArrayForEach(item, list) if (cJSON_IsString(item) &&
                                       strcmp(item->valuestring, "utf-32") == 0) return true;
    return false;
}

static cJSON *initialize(struct server *s, const cJSON *params)
{
    s->initialized = true;
    s->documents.code_points = counts_code_points(params);
    cJSON *result = cJSON_CreateObject();
    cJSON *info = cJSON_AddObjectToObject(result, "serverInfo");
    cJSON_AddStringToObject(info, "name", "kage");
    cJSON_AddStringToObject(info, "version", KAGE_VERSION);
    cJSON *can = cJSON_AddObjectToObject(result, "capabilities");
    cJSON_AddStringToObject(can, "positionEncoding",
                            s->documents.code_points ? "utf-32" : "utf-16");
    cJSON *sync = cJSON_AddObjectToObject(can, "textDocumentSync");
    cJSON_AddBoolToObject(sync, "openClose", true);
    cJSON_AddNumberToObject(sync, "change", 1); /* the whole text: specs are small */
    cJSON_AddBoolToObject(sync, "save", true);
    cJSON *triggers = cJSON_AddArrayToObject(cJSON_AddObjectToObject(can, "completionProvider"),
                                             "triggerCharacters");
    static const char *const characters[] = {" ", "{", ",", "[", "-"};
    for (size_t i = 0; i < sizeof(characters) / sizeof(characters[0]); i++)
        cJSON_AddItemToArray(triggers, cJSON_CreateString(characters[i]));
    cJSON_AddBoolToObject(can, "hoverProvider", true);
    cJSON_AddBoolToObject(can, "definitionProvider", true);
    cJSON_AddBoolToObject(can, "documentSymbolProvider", true);
    cJSON *kinds = cJSON_AddArrayToObject(cJSON_AddObjectToObject(can, "codeActionProvider"),
                                          "codeActionKinds");
    cJSON_AddItemToArray(kinds, cJSON_CreateString("quickfix"));
    return result;
}

static void publish(struct server *s, const char *uri, struct kage_document *doc)
{
    cJSON *m = cJSON_CreateObject();
    cJSON_AddStringToObject(m, "jsonrpc", "2.0");
    cJSON_AddStringToObject(m, "method", "textDocument/publishDiagnostics");
    cJSON *params = cJSON_AddObjectToObject(m, "params");
    cJSON_AddStringToObject(params, "uri", uri);
    cJSON_AddItemToObject(params, "diagnostics",
                          doc ? kage_lsp_diagnostics(&s->documents, doc) : cJSON_CreateArray());
    s->done |= kage_lsp_write(s->out, m) < 0;
}

static void on_text(struct server *s, const char *uri, const cJSON *text)
{
    if (uri && cJSON_IsString(text))
        publish(s, uri, kage_document_set(&s->documents, uri, text->valuestring));
}

static void on_notification(struct server *s, const char *method, const cJSON *params)
{
    const char *uri = uri_of(params);
    if (strcmp(method, "exit") == 0) {
        s->done = true;
    } else if (strcmp(method, "textDocument/didOpen") == 0) {
        on_text(s, uri, get(get(params, "textDocument"), "text"));
    } else if (strcmp(method, "textDocument/didChange") == 0) {
        const cJSON *changes = get(params, "contentChanges");
        int n = cJSON_GetArraySize(changes);
        on_text(s, uri, n ? get(cJSON_GetArrayItem(changes, n - 1), "text") : NULL);
    } else if (strcmp(method, "textDocument/didSave") == 0) {
        /* other files may have changed, too: the shares, the settings */
        struct kage_document *doc = kage_document_find(&s->documents, uri);
        cJSON *text = doc ? cJSON_CreateString(doc->source.text) : NULL;
        on_text(s, uri, text);
        cJSON_Delete(text);
    } else if (strcmp(method, "textDocument/didClose") == 0 && uri) {
        kage_document_close(&s->documents, uri);
        publish(s, uri, NULL);
    }
}

static cJSON *ask(struct server *s, const char *method, struct kage_document *doc,
                  const cJSON *params)
{
    const struct kage_documents *all = &s->documents;
    size_t cursor = kage_document_offset(all, doc, get(params, "position"));
    if (strcmp(method, "textDocument/completion") == 0)
        return kage_lsp_completion(all, doc, cursor);
    if (strcmp(method, "textDocument/hover") == 0)
        return kage_lsp_hover(all, doc, cursor);
    if (strcmp(method, "textDocument/definition") == 0)
        return kage_lsp_definition(all, doc, cursor);
    if (strcmp(method, "textDocument/documentSymbol") == 0)
        return kage_lsp_symbols(all, doc);
    const cJSON *range = get(params, "range");
    return kage_lsp_actions(all, doc, kage_document_offset(all, doc, get(range, "start")),
                            kage_document_offset(all, doc, get(range, "end")));
}

static bool is_known(const char *method)
{
    static const char *const methods[] = {"textDocument/completion", "textDocument/hover",
                                          "textDocument/definition", "textDocument/documentSymbol",
                                          "textDocument/codeAction"};
    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++)
        if (strcmp(method, methods[i]) == 0)
            return true;
    return false;
}

static void on_request(struct server *s, const cJSON *id, const char *method, const cJSON *params)
{
    if (strcmp(method, "initialize") == 0) {
        reply(s, id, initialize(s, params));
    } else if (!s->initialized) {
        refuse(s, id, NOT_INITIALIZED, "initialize first");
    } else if (s->shut_down) {
        refuse(s, id, INVALID_REQUEST, "the server was shut down");
    } else if (strcmp(method, "shutdown") == 0) {
        s->shut_down = true;
        reply(s, id, NULL);
    } else if (is_known(method)) {
        struct kage_document *doc = kage_document_find(&s->documents, uri_of(params));
        reply(s, id, doc ? ask(s, method, doc, params) : NULL);
    } else {
        refuse(s, id, METHOD_NOT_FOUND, "there is no such method");
    }
}

int kage_lsp_serve(int in, int out)
{
    struct server s = {.out = out};
    while (!s.done) {
        cJSON *message = kage_lsp_read(in);
        if (!message)
            break;
        const char *method = cJSON_GetStringValue(get(message, "method"));
        const cJSON *id = get(message, "id");
        if (method && id)
            on_request(&s, id, method, get(message, "params"));
        else if (method)
            on_notification(&s, method, get(message, "params"));
        cJSON_Delete(message);
    }
    kage_documents_done(&s.documents);
    return s.shut_down ? 0 : 1;
}
