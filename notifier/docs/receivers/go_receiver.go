// A receiver of Completion Notifier's events in Go 1.19 or newer, with the standard library alone.
//
//	WEBHOOK_SECRET=whsec_... PORT=8000 go run go_receiver.go
//
// This program writes each event to a file in the folder EVENTS (`<id>.json`) before it answers, and does the work
// afterwards. A file whose work is done is renamed to `<id>.done`. These files are kept, so that an event that arrives
// again is recognised.
package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

const (
	toleranceSeconds = 300
	longestBodyBytes = 32 << 20
	retryAfter       = time.Minute
)

var (
	key       = secretKey()
	folder    = setting("EVENTS", "events")
	id        = regexp.MustCompile(`^evt_[a-z2-7]{26}$`)
	timestamp = regexp.MustCompile(`^[0-9]{1,12}$`)
	toDo      = make(chan string, 1024)
)

type event struct {
	ID   string `json:"id"`
	Type string `json:"type"`
}

// work does the work for an event. After a crash, it may be done again for the same event: it must be safe to repeat.
func work(raw json.RawMessage) error {
	var it event
	if err := json.Unmarshal(raw, &it); err != nil {
		return err
	}
	fmt.Println("received", it.Type, it.ID) // replace this
	return nil
}

func main() {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		log.Fatal(err)
	}
	go func() {
		unfinished, _ := filepath.Glob(filepath.Join(folder, "*.json"))
		for _, file := range unfinished { // what an earlier run has accepted and not finished
			finish(file)
		}
		for file := range toDo {
			finish(file)
		}
	}()
	server := &http.Server{
		Addr:        "127.0.0.1:" + setting("PORT", "8000"),
		Handler:     http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(statusOf(w, r)) }),
		ReadTimeout: 15 * time.Second,
	}
	log.Fatal(server.ListenAndServe())
}

// statusOf accepts events, and returns the status to answer. 204 means that they are kept.
func statusOf(w http.ResponseWriter, r *http.Request) int {
	if r.Method != http.MethodPost {
		return http.StatusMethodNotAllowed
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, longestBodyBytes))
	if err != nil {
		return http.StatusRequestEntityTooLarge
	}
	if !isGenuine(r.Header, body) {
		return http.StatusUnauthorized
	}
	raws, err := eventsIn(body)
	if err != nil || len(raws) == 0 {
		return http.StatusBadRequest
	}
	ids := make([]string, len(raws))
	for i, raw := range raws {
		var it event
		if json.Unmarshal(raw, &it) != nil || !id.MatchString(it.ID) {
			return http.StatusBadRequest
		}
		ids[i] = it.ID
	}
	for i, raw := range raws {
		file := filepath.Join(folder, ids[i]+".json")
		isNew, err := keep(file, raw)
		if err != nil {
			log.Print(err)
			return http.StatusInternalServerError // the event is sent again
		}
		if isNew {
			go func() { toDo <- file }()
		}
	}
	return http.StatusNoContent
}

// isGenuine returns whether the request has a valid signature (Standard Webhooks) and is recent.
func isGenuine(headers http.Header, body []byte) bool {
	when := headers.Get("webhook-timestamp")
	seconds, err := strconv.ParseInt(when, 10, 64)
	if err != nil || !timestamp.MatchString(when) {
		return false
	}
	if age := time.Now().Unix() - seconds; age > toleranceSeconds || age < -toleranceSeconds {
		return false
	}
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%s.", headers.Get("webhook-id"), when)
	mac.Write(body)
	expected := []byte("v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	for _, signature := range strings.Split(headers.Get("webhook-signature"), " ") {
		if hmac.Equal(expected, []byte(signature)) {
			return true
		}
	}
	return false
}

// eventsIn returns the events in a body: one event, an array of events, or the array `events` of an object. A
// message (`notifier.batch`) has this object in `data`.
func eventsIn(body []byte) ([]json.RawMessage, error) {
	var several []json.RawMessage
	if json.Unmarshal(body, &several) == nil {
		return several, nil
	}
	var message struct {
		Type string          `json:"type"`
		Data json.RawMessage `json:"data"`
	}
	if json.Unmarshal(body, &message) == nil && message.Type == "notifier.batch" {
		body = message.Data
	}
	var batch struct {
		Events []json.RawMessage `json:"events"`
	}
	if err := json.Unmarshal(body, &batch); err != nil {
		return nil, err
	}
	if batch.Events != nil {
		return batch.Events, nil
	}
	return []json.RawMessage{body}, nil
}

// keep writes an event to its file on the disk, and returns whether it is new.
func keep(file string, raw json.RawMessage) (bool, error) {
	if _, err := os.Stat(doneOf(file)); err == nil {
		return false, nil
	}
	part, err := os.CreateTemp(folder, "*.part")
	if err != nil {
		return false, err
	}
	defer os.Remove(part.Name())
	_, err = part.Write(raw)
	for _, next := range []error{part.Sync(), part.Close()} {
		if err == nil {
			err = next
		}
	}
	if err != nil {
		return false, err
	}
	err = os.Link(part.Name(), file) // unlike a rename, a link fails if the file exists
	if errors.Is(err, fs.ErrExist) {
		return false, nil
	}
	return err == nil, err
}

// finish works on a kept event, and marks it as done. If the work fails or panics, it is tried again later.
func finish(file string) {
	if _, err := os.Stat(doneOf(file)); err == nil {
		os.Remove(file) // the event arrived again and was kept just after it was done
		return
	}
	raw, err := os.ReadFile(file)
	defer func() {
		if reason := recover(); reason != nil {
			err = fmt.Errorf("panic: %v", reason)
		}
		if err != nil {
			log.Printf("%s is tried again in %s: %v", file, retryAfter, err)
			time.AfterFunc(retryAfter, func() { toDo <- file })
		}
	}()
	if err == nil {
		err = work(raw)
	}
	if err == nil {
		err = os.Rename(file, doneOf(file))
	}
}

func doneOf(file string) string {
	return strings.TrimSuffix(file, ".json") + ".done"
}

func secretKey() []byte {
	written := strings.TrimRight(strings.TrimPrefix(os.Getenv("WEBHOOK_SECRET"), "whsec_"), "=")
	decoded, err := base64.RawStdEncoding.DecodeString(written)
	if err != nil || len(decoded) == 0 {
		log.Fatal("WEBHOOK_SECRET is not set to a secret, whsec_...")
	}
	return decoded
}

func setting(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}
