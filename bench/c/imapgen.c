// IMAP load generator: one thread for each connection. Prints one line of JSON: what came, errors, rate and latencies.
//   -m download  -n logins one after the other read their mailboxes from end to end, in one FETCH each; with -again 1 they
//                do so twice, and the second time counts
//   -m sessions  -c threads, each LOGIN/SELECT/FETCH of ten messages/LOGOUT until -t seconds are over
//   -m idle      -c connections are opened that stay in IDLE; they end when stdin is closed
// -user: logins are USER-0@portal.example, USER-1@..., of which there are -users. -size: messages in a mailbox of -m sessions.
#include "common.h"
#define OPENERS 8
static int port, conc = 1, tls, users = 1, logins = 1, again, size = 200; static double secs = 2, t_end; static char *mode = "sessions", *user = "u", *lasterr = ""; static SSL_CTX *ctx;
static atomic_long errs, octets, messages, opened;
typedef struct { double *lat; size_t n, cap; int id; } res;

// One response with its literals: 1 when it is the OK of tag, 2 when it is another answer to it, 0 for any other, -1 at the end.
static int response(conn *c, const char *tag) {
  size_t n, length = strlen(tag); char *l, *brace; int first = 1, r = 0;
  for (;;) {
    if (!(l = conn_line(c, &n))) { lasterr = "eof"; return -1; }
    if (first && !strncmp(l, tag, length) && l[length] == ' ') r = !strncmp(l + length + 1, "OK", 2) ? 1 : 2;
    if (first && r == 2) lasterr = strdup(l);
    first = 0;
    if (!n || l[n - 1] != '}' || !(brace = strrchr(l, '{'))) return r;
    long left = atol(brace + 1); atomic_fetch_add(&octets, left); atomic_fetch_add(&messages, 1);
    while (left) { if (c->r == c->w && conn_fill(c)) { lasterr = "eof"; return -1; } long k = c->w - c->r; if (k > left) k = left; c->r += k; left -= k; }
  }
}
static int cmd(conn *c, const char *tag, const char *line) {
  int r; if (conn_puts(c, line)) { lasterr = "write"; return -1; }
  while ((r = response(c, tag)) == 0);
  return r == 1 ? 0 : -1;
}
static int login(conn *c, int id, size_t buffer) {
  int fd = tcp_connect(port, 1 + id % 200); char b[200]; size_t n; if (fd < 0) { lasterr = "connect"; return -1; }
  conn_init(c, fd, buffer); if (tls && conn_tls(c, ctx, 0)) { lasterr = "tls"; return -1; }
  if (!conn_line(c, &n)) { lasterr = "no greeting"; return -1; }
  snprintf(b, sizeof b, "a1 LOGIN %s-%d@portal.example p\r\n", user, id % users);
  return cmd(c, "a1", b) || cmd(c, "a2", "a2 SELECT INBOX\r\n");
}
static void *sessions(void *p) {
  res *r = p; conn c = {.fd = -1}; char b[100]; unsigned x = r->id * 7919 + 1;
  while (now() < t_end) {
    double t0 = now(); x = x * 1103515245 + 12345; int first = 1 + (x >> 16) % (size - 9);
    snprintf(b, sizeof b, "a3 FETCH %d:%d (UID FLAGS BODY.PEEK[])\r\n", first, first + 9);
    if (login(&c, r->id, 65536) || cmd(&c, "a3", b) || cmd(&c, "a4", "a4 LOGOUT\r\n")) { atomic_fetch_add(&errs, 1); usleep(20000); }
    else { if (r->n == r->cap) r->lat = realloc(r->lat, sizeof(double) * (r->cap = r->cap ? r->cap * 2 : 1024)); r->lat[r->n++] = now() - t0; }
    conn_close(&c);
  }
  return NULL;
}
static void *idle(void *p) {
  for (int i = ((res *)p)->id; i < conc; i += OPENERS) {
    conn *c = calloc(1, sizeof *c); char *l; size_t n; c->fd = -1; // they live as long as the process
    if (login(c, i, 1024) || conn_puts(c, "a3 IDLE\r\n")) { atomic_fetch_add(&errs, 1); continue; }
    while ((l = conn_line(c, &n)) && l[0] != '+');
    if (l) atomic_fetch_add(&opened, 1); else atomic_fetch_add(&errs, 1);
  }
  return NULL;
}
static void run(void *(*f)(void *), res *r, int k) {
  pthread_t *t = calloc(k, sizeof *t);
  for (int i = 0; i < k; i++) { r[i].id = i; spawn(f, &r[i], 256 << 10, &t[i]); }
  for (int i = 0; i < k; i++) pthread_join(t[i], NULL);
}
static double download(void) {
  double spent = 0;
  for (int i = 0; i < logins; i++) {
    conn c = {.fd = -1}; double t0 = 0; int failed = login(&c, i, 1 << 18);
    for (int first = again; !failed && first >= 0; first--) {
      long m = messages, o = octets; t0 = now(); failed = cmd(&c, "a3", "a3 UID FETCH 1:* (UID FLAGS BODY.PEEK[])\r\n");
      if (first) { messages = m; octets = o; } else spent += now() - t0;
    }
    if (failed || cmd(&c, "a4", "a4 LOGOUT\r\n")) errs++;
    conn_close(&c); free(c.buf);
  }
  return spent;
}
int main(int ac, char **av) {
  signal(SIGPIPE, SIG_IGN);
  for (int i = 1; i + 1 < ac; i += 2) {
    char *k = av[i], *v = av[i + 1];
    if (!strcmp(k, "-p")) port = atoi(v); else if (!strcmp(k, "-c")) conc = atoi(v); else if (!strcmp(k, "-t")) secs = atof(v);
    else if (!strcmp(k, "-m")) mode = v; else if (!strcmp(k, "-tls")) tls = !strcmp(v, "implicit"); else if (!strcmp(k, "-n")) logins = atoi(v); else if (!strcmp(k, "-again")) again = atoi(v);
    else if (!strcmp(k, "-user")) user = v; else if (!strcmp(k, "-users")) users = atoi(v); else if (!strcmp(k, "-size")) size = atoi(v);
  }
  ctx = client_ctx(); res *r = calloc(conc, sizeof *r); double t0 = now(); t_end = t0 + secs;
  if (!strcmp(mode, "idle")) {
    run(idle, r, conc < OPENERS ? conc : OPENERS);
    printf("{\"opened\":%ld,\"errors\":%ld,\"seconds\":%.3f,\"last_error\":\"%.80s\"}\n", (long)opened, (long)errs, now() - t0, lasterr); fflush(stdout);
    getchar(); return 0;
  }
  double spent = 0; if (!strcmp(mode, "download")) spent = download(); else { run(sessions, r, conc); spent = now() - t0; }
  size_t n = 0, k = 0; for (int i = 0; i < conc; i++) n += r[i].n;
  double *all = malloc(sizeof(double) * (n + 1)); for (int i = 0; i < conc; i++) { memcpy(all + k, r[i].lat, sizeof(double) * r[i].n); k += r[i].n; }
  qsort(all, n, sizeof(double), cmpd);
  char p50[32] = "null", p99[32] = "null"; // of sessions only
  if (n) { snprintf(p50, sizeof p50, "%.3f", all[n / 2] * 1e3); snprintf(p99, sizeof p99, "%.3f", all[(size_t)(n * .99)] * 1e3); }
  printf("{\"sessions\":%zu,\"messages\":%ld,\"octets\":%ld,\"errors\":%ld,\"seconds\":%.6f,\"p50_ms\":%s,\"p99_ms\":%s,\"last_error\":\"%.80s\"}\n", n, (long)messages, (long)octets, (long)errs, spent, p50, p99, lasterr);
  return 0;
}
