// Serves fake-gcs-server to clients of Google's XML API, of which the fake knows how objects are read and listed. This
// adds the rest by way of the JSON API, which it knows whole: writing, uploads in parts, the words of errors, and
// credentials, which it never asks for. As https://cloud.google.com/storage/docs/xml-api/reference-methods has it.
package main

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"encoding/xml"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/fsouza/fake-gcs-server/fakestorage"
)

type front struct {
	fake  http.Handler
	parts string // the folder of the parts of unfinished uploads
	key   *rsa.PublicKey
}

func main() {
	address := flag.String("address", "", "where to listen: 127.0.0.1:4443")
	folder := flag.String("folder", "", "where objects are kept: a folder in buckets/ is a bucket")
	key := flag.String("key", "", "the PEM file of the public key of the one service account that may come in")
	flag.Parse()
	fake, err := fakestorage.NewServerWithOptions(fakestorage.Options{
		StorageRoot: filepath.Join(*folder, "buckets"), PublicHost: *address, Scheme: "http", NoListener: true,
	})
	if err != nil {
		log.Fatal(err)
	}
	parts := filepath.Join(*folder, "parts")
	if err := os.MkdirAll(parts, 0o700); err != nil {
		log.Fatal(err)
	}
	log.Fatal(http.ListenAndServe(*address, front{fake.HTTPHandler(), parts, publicKey(*key)}))
}

func publicKey(path string) *rsa.PublicKey {
	text, err := os.ReadFile(path)
	if err != nil {
		log.Fatal(err)
	}
	block, _ := pem.Decode(text)
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		log.Fatal(err)
	}
	return key.(*rsa.PublicKey)
}

func (f front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	bucket, key, _ := strings.Cut(strings.TrimPrefix(r.URL.EscapedPath(), "/"), "/")
	bucket, _ = url.PathUnescape(bucket)
	key, _ = url.PathUnescape(key)
	asked := r.URL.Query()
	upload := filepath.Join(f.parts, filepath.Base(asked.Get("uploadId")))
	switch {
	case !f.signed(r):
		fail(w, http.StatusUnauthorized, "AuthenticationRequired")
	case f.ask(http.MethodGet, "/storage/v1/b/"+url.PathEscape(bucket), nil).Code != http.StatusOK:
		fail(w, http.StatusNotFound, "NoSuchBucket")
	case r.Method == http.MethodPost && asked.Has("uploads"):
		f.begin(w)
	case r.Method == http.MethodPut && asked.Has("uploadId"):
		part(w, r, filepath.Join(upload, asked.Get("partNumber")))
	case r.Method == http.MethodPost && asked.Has("uploadId"):
		f.join(w, r, bucket, key, upload)
	case r.Method == http.MethodDelete && asked.Has("uploadId"):
		os.RemoveAll(upload)
		w.WriteHeader(http.StatusNoContent)
	case r.Method == http.MethodPut:
		if answer, ok := f.write(w, bucket, key, r.Header.Get("x-goog-if-generation-match"), r.Body); ok {
			answer.head(w)
		}
	default:
		f.fake.ServeHTTP(w, r)
	}
}

// signed says whether the bearer token is a JWT that the service account's key signed.
func (f front) signed(r *http.Request) bool {
	token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	dot := strings.LastIndex(token, ".")
	if dot < 0 {
		return false
	}
	signature, err := base64.RawURLEncoding.DecodeString(token[dot+1:])
	digest := sha256.Sum256([]byte(token[:dot]))
	return err == nil && rsa.VerifyPKCS1v15(f.key, crypto.SHA256, digest[:], signature) == nil
}

// ask sends the fake a request of the JSON API.
func (f front) ask(method, path string, body io.Reader) *httptest.ResponseRecorder {
	recorder := httptest.NewRecorder()
	f.fake.ServeHTTP(recorder, httptest.NewRequest(method, path, body))
	return recorder
}

type written struct {
	ETag       string `json:"etag"`
	Generation string `json:"generation"`
}

func (object written) head(w http.ResponseWriter) {
	w.Header().Set("ETag", `"`+strings.Trim(object.ETag, `"`)+`"`)
	w.Header().Set("x-goog-generation", object.Generation)
}

func (f front) write(w http.ResponseWriter, bucket, key, generation string, body io.Reader) (object written, ok bool) {
	query := url.Values{"uploadType": {"media"}, "name": {key}}
	if generation != "" {
		query.Set("ifGenerationMatch", generation)
	}
	said := f.ask(http.MethodPost, "/upload/storage/v1/b/"+url.PathEscape(bucket)+"/o?"+query.Encode(), body)
	switch said.Code {
	case http.StatusOK:
		return object, json.Unmarshal(said.Body.Bytes(), &object) == nil
	case http.StatusPreconditionFailed:
		fail(w, said.Code, "PreconditionFailed")
	default:
		fail(w, said.Code, "InternalError")
	}
	return object, false
}

func (f front) begin(w http.ResponseWriter) {
	id := rand.Text()
	if err := os.Mkdir(filepath.Join(f.parts, id), 0o700); err != nil {
		fail(w, http.StatusInternalServerError, "InternalError")
		return
	}
	fmt.Fprintf(w, "<InitiateMultipartUploadResult><UploadId>%s</UploadId></InitiateMultipartUploadResult>", id)
}

func part(w http.ResponseWriter, r *http.Request, path string) {
	file, err := os.Create(path)
	if err != nil {
		fail(w, http.StatusNotFound, "NoSuchUpload")
		return
	}
	defer file.Close()
	digest := sha256.New()
	if _, err := io.Copy(io.MultiWriter(file, digest), r.Body); err != nil {
		fail(w, http.StatusBadRequest, "IncompleteBody")
		return
	}
	w.Header().Set("ETag", fmt.Sprintf(`"%x"`, digest.Sum(nil)))
}

func (f front) join(w http.ResponseWriter, r *http.Request, bucket, key, upload string) {
	var list struct {
		Part []struct{ PartNumber string }
	}
	if xml.NewDecoder(r.Body).Decode(&list) != nil {
		fail(w, http.StatusBadRequest, "MalformedXML")
		return
	}
	var parts []io.Reader
	for _, each := range list.Part {
		file, err := os.Open(filepath.Join(upload, filepath.Base(each.PartNumber)))
		if err != nil {
			fail(w, http.StatusBadRequest, "InvalidPart")
			return
		}
		defer file.Close()
		parts = append(parts, file)
	}
	object, ok := f.write(w, bucket, key, "", io.MultiReader(parts...))
	if !ok {
		return
	}
	os.RemoveAll(upload)
	object.head(w)
	fmt.Fprintf(w, "<CompleteMultipartUploadResult><ETag>%s</ETag></CompleteMultipartUploadResult>", w.Header().Get("ETag"))
}

func fail(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/xml; charset=UTF-8")
	w.WriteHeader(status)
	fmt.Fprintf(w, "<?xml version='1.0' encoding='UTF-8'?><Error><Code>%s</Code></Error>", code)
}
