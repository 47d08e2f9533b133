// SMTP sink: accepts everything, counts messages and bytes. Listeners "PORT:none|implicit|starttls"; -stats PORT answers "msgs bytes conns".
#include "common.h"
static SSL_CTX *ctx; static atomic_long msgs, bytes, conns;
typedef struct { int fd, mode; } arg_t;
static int data(conn *c) { // consume until CRLF.CRLF; the line before is complete, so ".\r\n" at once also ends it
  static const char end[5] = "\r\n.\r\n"; char tail[4] = {0, 0, '\r', '\n'}; long total = 0;
  for (;;) {
    if (c->r == c->w && conn_fill(c)) return -1;
    char *s = c->buf + c->r; size_t n = c->w - c->r, endpos = 0;
    char j[8]; size_t m = n < 4 ? n : 4; memcpy(j, tail, 4); memcpy(j + 4, s, m);
    char *e = memmem(j, 4 + m, end, 5);
    if (e) endpos = (e - j) + 5 - 4; else if ((e = memmem(s, n, end, 5))) endpos = (e - s) + 5;
    if (endpos) { c->r += endpos; atomic_fetch_add(&bytes, total + endpos); return 0; }
    total += n; c->r = c->w;
    if (n >= 4) memcpy(tail, s + n - 4, 4); else { memmove(tail, tail + n, 4 - n); memcpy(tail + 4 - n, s, n); }
  }
}
static void *serve(void *p) {
  arg_t a = *(arg_t *)p; free(p); conn c = {0}; char *l; size_t n; int starttls = a.mode == 2;
  conn_init(&c, a.fd, 65536); atomic_fetch_add(&conns, 1);
  if (a.mode == 1 && conn_tls(&c, ctx, 1)) goto out;
  if (conn_puts(&c, "220 sink.invalid ESMTP\r\n")) goto out;
  while ((l = conn_line(&c, &n))) {
    int rc;
    if (!strncasecmp(l, "EHLO", 4)) rc = conn_puts(&c, starttls ? "250-sink.invalid\r\n250-PIPELINING\r\n250-SIZE 157286400\r\n250-8BITMIME\r\n250-STARTTLS\r\n250-AUTH PLAIN LOGIN XOAUTH2\r\n250 ENHANCEDSTATUSCODES\r\n" : "250-sink.invalid\r\n250-PIPELINING\r\n250-SIZE 157286400\r\n250-8BITMIME\r\n250-AUTH PLAIN LOGIN XOAUTH2\r\n250 ENHANCEDSTATUSCODES\r\n");
    else if (!strncasecmp(l, "DATA", 4)) { if (conn_puts(&c, "354 go\r\n") || data(&c)) break; atomic_fetch_add(&msgs, 1); rc = conn_puts(&c, "250 2.0.0 Ok: queued as SINK\r\n"); }
    else if (!strncasecmp(l, "BDAT", 4)) {
      long k = atol(l + 5); int last = strcasestr(l, "LAST") != NULL; 
      while (k) { if (c.r == c.w && conn_fill(&c)) goto out; size_t m = c.w - c.r; if ((long)m > k) m = k; c.r += m; k -= m; atomic_fetch_add(&bytes, m); }
      if (last) atomic_fetch_add(&msgs, 1);
      rc = conn_puts(&c, "250 2.0.0 Ok\r\n");
    }
    else if (!strncasecmp(l, "AUTH", 4)) {
      if (n < 11 || (!strchr(l + 5, ' '))) { if (conn_puts(&c, "334 \r\n") || !conn_line(&c, &n)) break; if (!strncasecmp(l + 5, "LOGIN", 5)) if (conn_puts(&c, "334 \r\n") || !conn_line(&c, &n)) break; }
      rc = conn_puts(&c, "235 2.7.0 ok\r\n");
    }
    else if (!strncasecmp(l, "STARTTLS", 8)) { if (conn_puts(&c, "220 go\r\n") || conn_tls(&c, ctx, 1)) break; starttls = 0; rc = 0; }
    else if (!strncasecmp(l, "QUIT", 4)) { conn_puts(&c, "221 bye\r\n"); break; }
    else rc = conn_puts(&c, "250 2.0.0 Ok\r\n");
    if (rc) break;
  }
out:
  conn_close(&c); free(c.buf); return NULL;
}
typedef struct { int port, mode; } lst;
static void *acceptor(void *p) {
  lst *l = p; int fd = tcp_listen(l->port);
  for (;;) {
    int k = accept4(fd, NULL, NULL, SOCK_CLOEXEC); if (k < 0) continue;
    if (l->mode == 9) { char b[100]; int n = snprintf(b, 100, "%ld %ld %ld\n", (long)msgs, (long)bytes, (long)conns); if (write(k, b, n) < 0) {} close(k); continue; }
    arg_t *a = malloc(sizeof *a); a->fd = k; a->mode = l->mode; spawn(serve, a, 128 << 10, NULL);
  }
  return NULL;
}
int main(int ac, char **av) {
  signal(SIGPIPE, SIG_IGN); char *crt = NULL, *key = NULL; lst *ls = calloc(ac, sizeof *ls); int k = 0;
  for (int i = 1; i < ac; i++) {
    if (!strcmp(av[i], "-cert")) crt = av[++i]; else if (!strcmp(av[i], "-key")) key = av[++i];
    else if (!strcmp(av[i], "-stats")) { ls[k].port = atoi(av[++i]); ls[k++].mode = 9; }
    else { char *m = strchr(av[i], ':'); ls[k].port = atoi(av[i]); ls[k++].mode = !strcmp(m, ":implicit") ? 1 : !strcmp(m, ":starttls") ? 2 : 0; }
  }
  if (crt) ctx = server_ctx(crt, key);
  for (int i = 0; i < k; i++) spawn(acceptor, &ls[i], 128 << 10, NULL);
  for (;;) pause();
}
