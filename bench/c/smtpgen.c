// SMTP load generator: -c threads, each connect/EHLO/AUTH PLAIN/-k messages/QUIT until -t seconds or -n messages are over.
// Prints one line of JSON: what was sent (messages, octets of mail data), errors, rate and latencies.
// -from, -to: author and recipient, in envelope and header section; -from is the login, too. -run makes Message-IDs unique.
#include "common.h"
static int port, conc = 1, per = 1, tls = 0, auth = 1; static double secs = 2; static size_t size = 4096; static long maxmsgs = 1L << 60;
static double t_end; static SSL_CTX *ctx; static char *body; static size_t body_len; static atomic_long started, errs, msgid, octets;
static char *from = "sender@example.invalid", *to = "rcpt@example.invalid", *run = "run", *lasterr; static char login[1200], mail[600], rcpt[600];
typedef struct { double *lat; size_t n, cap; int id; } res;

static int expect(conn *c, char want) {
  char *l; size_t n;
  do { l = conn_line(c, &n); if (!l) { lasterr = "eof"; return -1; } } while (n > 3 && l[3] == '-');
  if (l[0] != want) { lasterr = strdup(l); return -1; }
  return 0;
}
static int cmd(conn *c, const char *s, char want) { return conn_puts(c, s) || expect(c, want); }
static int session(conn *c, res *r) {
  double t0 = now(); char line[512];
  int fd = tcp_connect(port, 1 + r->id % 200); if (fd < 0) { lasterr = "connect"; return -1; }
  conn_init(c, fd, 8192);
  if (tls == 1 && conn_tls(c, ctx, 0)) { lasterr = "tls"; return -1; }
  if (expect(c, '2') || cmd(c, "EHLO bench.invalid\r\n", '2')) return -1;
  if (tls == 2) { if (cmd(c, "STARTTLS\r\n", '2')) return -1; if (conn_tls(c, ctx, 0)) { lasterr = "tls"; return -1; } if (cmd(c, "EHLO bench.invalid\r\n", '2')) return -1; }
  if (auth && cmd(c, login, '2')) return -1;
  for (int i = 0; i < per; i++) {
    if (i && now() >= t_end) break;
    if (i && atomic_fetch_add(&started, 1) >= maxmsgs) break;
    double t1 = per == 1 ? t0 : now();
    if (cmd(c, mail, '2') || cmd(c, rcpt, '2') || cmd(c, "DATA\r\n", '3')) return -1;
    long id = atomic_fetch_add(&msgid, 1);
    int n = snprintf(line, sizeof line, "Message-ID: <%s.%010ld@bench.invalid>\r\n", run, id);
    if (conn_write2(c, line, n, body, body_len) || expect(c, '2')) return -1;
    if (r->n == r->cap) r->lat = realloc(r->lat, sizeof(double) * (r->cap = r->cap ? r->cap * 2 : 1024));
    r->lat[r->n++] = now() - t1; atomic_fetch_add(&octets, n + body_len);
  }
  cmd(c, "QUIT\r\n", '2');
  return 0;
}
static void *worker(void *p) {
  res *r = p; conn c = {.fd = -1};
  while (now() < t_end) {
    if (atomic_fetch_add(&started, 1) >= maxmsgs) break;
    if (session(&c, r)) { atomic_fetch_add(&errs, 1); usleep(20000); }
    conn_close(&c);
  }
  return NULL;
}
int main(int ac, char **av) {
  signal(SIGPIPE, SIG_IGN);
  for (int i = 1; i + 1 < ac; i += 2) {
    char *k = av[i], *v = av[i + 1];
    if (!strcmp(k, "-p")) port = atoi(v); else if (!strcmp(k, "-c")) conc = atoi(v); else if (!strcmp(k, "-k")) per = atoi(v);
    else if (!strcmp(k, "-s")) size = atol(v); else if (!strcmp(k, "-t")) secs = atof(v); else if (!strcmp(k, "-n")) maxmsgs = atol(v);
    else if (!strcmp(k, "-tls")) tls = !strcmp(v, "implicit") ? 1 : !strcmp(v, "starttls") ? 2 : 0; else if (!strcmp(k, "-auth")) auth = atoi(v);
    else if (!strcmp(k, "-from")) from = v; else if (!strcmp(k, "-to")) to = v; else if (!strcmp(k, "-run")) run = v;
  }
  ctx = client_ctx(); char plain[512]; unsigned char coded[1024];
  int n = snprintf(plain, sizeof plain, "%c%s%cp", 0, from, 0); EVP_EncodeBlock(coded, (unsigned char *)plain, n);
  snprintf(login, sizeof login, "AUTH PLAIN %s\r\n", coded); snprintf(mail, sizeof mail, "MAIL FROM:<%s>\r\n", from); snprintf(rcpt, sizeof rcpt, "RCPT TO:<%s>\r\n", to);
  // Wire body (already dot-stuffed): headers, then base64-like lines that vary, some starting with a dot.
  char *p = body = malloc(size + 1024);
  p += sprintf(p, "From: Sender <%s>\r\nTo: Rcpt <%s>\r\nSubject: Re: Case CRM-4711 quarterly offer\r\nDate: Mon, 23 Nov 2026 12:00:00 +0000\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 7bit\r\n\r\n", from, to);
  unsigned x = 12345; size_t target = size - 60 - 5;
  while ((size_t)(p - body) + 80 < target) {
    int n = 0; x = x * 1103515245 + 12345; if ((x >> 16) % 16 == 0) { *p++ = '.'; *p++ = '.'; n = 2; }
    for (; n < 76; n++) { x = x * 1103515245 + 12345; *p++ = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"[(x >> 20) & 63]; }
    *p++ = '\r'; *p++ = '\n';
  }
  while ((size_t)(p - body) + 2 < target) *p++ = 'x';
  p += sprintf(p, "\r\n.\r\n"); body_len = p - body;
  res *r = calloc(conc, sizeof *r); pthread_t *t = calloc(conc, sizeof *t);
  double t0 = now(); t_end = t0 + secs;
  for (int i = 0; i < conc; i++) { r[i].id = i; spawn(worker, &r[i], 256 << 10, &t[i]); }
  for (int i = 0; i < conc; i++) pthread_join(t[i], NULL);
  double el = now() - t0; size_t sent = 0; for (int i = 0; i < conc; i++) sent += r[i].n;
  double *all = malloc(sizeof(double) * (sent + 1)); size_t k = 0; for (int i = 0; i < conc; i++) { memcpy(all + k, r[i].lat, sizeof(double) * r[i].n); k += r[i].n; }
  qsort(all, sent, sizeof(double), cmpd);
  printf("{\"sent\":%zu,\"octets\":%ld,\"errors\":%ld,\"seconds\":%.4f,\"rate\":%.2f,\"p50_ms\":%.3f,\"p99_ms\":%.3f,\"max_ms\":%.3f,\"last_error\":\"%.80s\"}\n", sent, (long)octets, (long)errs, el, sent / el,
         sent ? all[sent / 2] * 1e3 : 0, sent ? all[(size_t)(sent * .99)] * 1e3 : 0, sent ? all[sent - 1] * 1e3 : 0, lasterr ? lasterr : "");
  return 0;
}
