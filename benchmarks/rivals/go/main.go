// Command peer is the proxy of an MCP tunnel as Go's standard library makes it: net/http's server
// with HTTP/1.1 and HTTP/2 on crypto/tls inside a WebSocket, and its ReverseProxy with a pool of
// buffers. It is what the bench compares the proxy with, and not meant for anything else.
package main

import (
	"flag"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"
)

const (
	bufferSize     = 32 << 10 // as ReverseProxy without a pool
	headerTimeout  = 10 * time.Second
	idleTimeout    = 60 * time.Second
	idleToUpstream = 1024 // no request of the bench waits for a new connection
)

func main() {
	listen := flag.String("listen", "", "`address` of the WebSocket listener")
	certificate := flag.String("certificate", "", "`file` of the certificate, in PEM")
	key := flag.String("key", "", "`file` of its key, in PEM")
	host := flag.String("host", "", "the only `hostname` with a route")
	upstream := flag.String("upstream", "", "the `URL` that it leads to")
	flag.Parse()
	target, err := url.Parse(*upstream)
	if err != nil {
		log.Fatal(err)
	}
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	server := &http.Server{
		Handler:           logged(routed(*host, forwarded(target))),
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		ErrorLog:          log.New(io.Discard, "", 0), // connections that the bench breaks off
	}
	log.Fatal(server.ServeTLS(tunnelListener{listener}, *certificate, *key))
}

// forwarded passes requests on to one upstream, as the client named the host.
func forwarded(target *url.URL) http.Handler {
	return &httputil.ReverseProxy{
		Rewrite: func(request *httputil.ProxyRequest) {
			request.SetURL(target)
			request.Out.Host = request.In.Host
			request.SetXForwarded()
		},
		Transport: &http.Transport{
			MaxIdleConnsPerHost: idleToUpstream,
			IdleConnTimeout:     idleTimeout,
			DisableCompression:  true, // what the client asked for, and nothing else
		},
		BufferPool: &buffers{sync.Pool{New: func() any { return new([bufferSize]byte) }}},
	}
}

// routed refuses requests for other hosts.
func routed(host string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(answer http.ResponseWriter, request *http.Request) {
		name, _, found := strings.Cut(request.Host, ":")
		if !found {
			name = request.Host
		}
		if !strings.EqualFold(name, host) {
			http.Error(answer, "No route configured for host", http.StatusBadGateway)
			return
		}
		next.ServeHTTP(answer, request)
	})
}

// logged writes one line for each request.
func logged(next http.Handler) http.Handler {
	lines := slog.New(slog.NewJSONHandler(os.Stdout, nil))
	return http.HandlerFunc(func(answer http.ResponseWriter, request *http.Request) {
		began := time.Now()
		counted := &countedAnswer{ResponseWriter: answer}
		next.ServeHTTP(counted, request)
		lines.LogAttrs(
			request.Context(), slog.LevelInfo, "request",
			slog.String("method", request.Method),
			slog.String("host", request.Host),
			slog.String("path", request.URL.Path),
			slog.Int("status", counted.status),
			slog.Int64("bytes", counted.written),
			slog.Duration("duration", time.Since(began)),
		)
	})
}

type countedAnswer struct {
	http.ResponseWriter
	status  int
	written int64
}

// Unwrap lets ReverseProxy flush.
func (answer *countedAnswer) Unwrap() http.ResponseWriter { return answer.ResponseWriter }

func (answer *countedAnswer) WriteHeader(status int) {
	answer.status = status
	answer.ResponseWriter.WriteHeader(status)
}

func (answer *countedAnswer) Write(data []byte) (int, error) {
	written, err := answer.ResponseWriter.Write(data)
	answer.written += int64(written)
	return written, err
}

// buffers is ReverseProxy's BufferPool. Arrays, as a slice would be allocated anew for each Put.
type buffers struct{ pool sync.Pool }

func (b *buffers) Get() []byte { return b.pool.Get().(*[bufferSize]byte)[:] }

func (b *buffers) Put(buffer []byte) { b.pool.Put((*[bufferSize]byte)(buffer)) }
