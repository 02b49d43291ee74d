package main

import (
	"bufio"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
)

const (
	guid       = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11" // RFC 6455 §1.3
	opClose    = 0x8
	opPing     = 0x9
	final      = 0x80
	masked     = 0x80
	maxControl = 125
	headerSize = 10      // of an unmasked frame, at most
	copied     = 4 << 10 // one small copy is cheaper than a second buffer of writev
)

var (
	errUpgrade  = errors.New("not a WebSocket opening handshake")
	errFrame    = errors.New("a frame against RFC 6455")
	normalClose = []byte{final | opClose, 2, 1000 >> 8, 1000 & 0xff}
	frames      = sync.Pool{New: func() any { return new([headerSize + copied]byte) }}
)

// tunnelListener accepts WebSocket connections as the byte streams inside them.
type tunnelListener struct{ net.Listener }

func (l tunnelListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &tunnelConn{Conn: conn, in: bufio.NewReader(conn)}, nil
}

// tunnelConn is a byte stream in the messages of a WebSocket. One goroutine reads, one writes.
type tunnelConn struct {
	net.Conn
	in      *bufio.Reader
	open    bool
	left    uint64 // bytes of the current frame's payload that are still to come
	mask    [4]byte
	writing sync.Mutex // pongs are written by the goroutine that reads
}

// Read answers the opening handshake first, so that Accept does not wait for it.
func (c *tunnelConn) Read(into []byte) (int, error) {
	if !c.open {
		if err := c.upgrade(); err != nil {
			return 0, err
		}
	}
	for c.left == 0 {
		if err := c.header(); err != nil {
			return 0, err
		}
	}
	if uint64(len(into)) > c.left {
		into = into[:c.left]
	}
	count, err := c.in.Read(into)
	c.unmask(into[:count])
	c.left -= uint64(count)
	return count, err
}

func (c *tunnelConn) upgrade() error {
	request, err := http.ReadRequest(c.in)
	if err != nil {
		return err
	}
	key := request.Header.Get("Sec-WebSocket-Key")
	if key == "" || !strings.EqualFold(request.Header.Get("Upgrade"), "websocket") {
		return errUpgrade
	}
	sum := sha1.Sum([]byte(key + guid))
	c.open = true
	_, err = fmt.Fprintf(
		c.Conn,
		"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"+
			"Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
		base64.StdEncoding.EncodeToString(sum[:]),
	)
	return err
}

// header reads the header of a frame; a control frame is read and answered whole.
func (c *tunnelConn) header() error {
	var head [2]byte
	if _, err := io.ReadFull(c.in, head[:]); err != nil {
		return err
	}
	length, err := c.length(head[1] &^ masked)
	if err != nil {
		return err
	}
	if head[1]&masked == 0 {
		return errFrame
	}
	if _, err := io.ReadFull(c.in, c.mask[:]); err != nil {
		return err
	}
	if head[0]&opClose == 0 {
		c.left = length
		return nil
	}
	return c.control(head[0]&0xf, length)
}

func (c *tunnelConn) length(short byte) (uint64, error) {
	var long [8]byte
	switch short {
	case 126:
		_, err := io.ReadFull(c.in, long[6:])
		return binary.BigEndian.Uint64(long[:]), err
	case 127:
		_, err := io.ReadFull(c.in, long[:])
		return binary.BigEndian.Uint64(long[:]), err
	}
	return uint64(short), nil
}

func (c *tunnelConn) control(opcode byte, length uint64) error {
	if length > maxControl {
		return errFrame
	}
	payload := make([]byte, length)
	if _, err := io.ReadFull(c.in, payload); err != nil {
		return err
	}
	c.unmask(payload)
	switch opcode {
	case opClose:
		return io.EOF
	case opPing:
		return c.frame(final|0xa, payload)
	}
	return nil
}

// unmask decodes a piece of the payload, and turns the mask for the next one.
func (c *tunnelConn) unmask(piece []byte) {
	key := uint64(binary.LittleEndian.Uint32(c.mask[:]))
	key |= key << 32
	rest := piece
	for len(rest) >= 8 {
		binary.LittleEndian.PutUint64(rest, binary.LittleEndian.Uint64(rest)^key)
		rest = rest[8:]
	}
	for i := range rest {
		rest[i] ^= c.mask[i&3]
	}
	turn := len(piece) & 3
	m := c.mask
	c.mask = [4]byte{m[turn], m[(turn+1)&3], m[(turn+2)&3], m[(turn+3)&3]}
}

// Write sends one binary message. crypto/tls calls it once for each record.
func (c *tunnelConn) Write(data []byte) (int, error) {
	if err := c.frame(final|0x2, data); err != nil {
		return 0, err
	}
	return len(data), nil
}

func (c *tunnelConn) frame(first byte, payload []byte) error {
	buffer := frames.Get().(*[headerSize + copied]byte)
	defer frames.Put(buffer)
	out := append(buffer[:0], first)
	switch size := len(payload); {
	case size < 126:
		out = append(out, byte(size))
	case size <= 0xffff:
		out = binary.BigEndian.AppendUint16(append(out, 126), uint16(size))
	default:
		out = binary.BigEndian.AppendUint64(append(out, 127), uint64(size))
	}
	c.writing.Lock()
	defer c.writing.Unlock()
	if len(payload) > copied {
		_, err := (&net.Buffers{out, payload}).WriteTo(c.Conn)
		return err
	}
	_, err := c.Conn.Write(append(out, payload...))
	return err
}

// Close says so to the peer, without waiting for its answer.
func (c *tunnelConn) Close() error {
	if c.writing.TryLock() {
		_, _ = c.Conn.Write(normalClose)
		c.writing.Unlock()
	}
	return c.Conn.Close()
}
