<?php
// A receiver of Completion Notifier's events in PHP 8.1 or newer, without any package.
//
//     WEBHOOK_SECRET=whsec_... php -S 127.0.0.1:8000 php_receiver.php     (to try it; in production: PHP-FPM)
//
// This page writes each event to a file in the folder EVENTS (`<id>.json`) before it answers. Another process does the
// work: run `php php_receiver.php` from a systemd timer, or from cron with `flock -n`, so that only one runs at a time.
// It renames a file whose work is done to `<id>.done`. These files are kept, so that an event that arrives again is
// recognised.

declare(strict_types=1);

const TOLERANCE_SECONDS = 300;
const LONGEST_BODY_BYTES = 32 * 1024 * 1024;

$events = getenv('EVENTS') ?: 'events';
is_dir($events) || mkdir($events, 0700, true);

if (PHP_SAPI === 'cli') {
    foreach (glob("$events/*.json") as $file) {
        try {
            if (file_exists(done_of($file))) {
                unlink($file); // the event arrived again and was kept just after it was done
                continue;
            }
            work(json_decode(file_get_contents($file), true, 512, JSON_THROW_ON_ERROR));
            rename($file, done_of($file));
        } catch (Throwable $error) {
            error_log("$file is tried again by the next run: $error");
        }
    }
    exit;
}
try {
    http_response_code(status_of($events));
} catch (Throwable $error) {
    error_log((string) $error);
    http_response_code(500); // the event is sent again
}

/** Does the work for an event. After a crash, it may be done again for the same event: it must be safe to repeat. */
function work(array $event): void
{
    echo "received {$event['type']} {$event['id']}\n"; // replace this
}

/** Accepts events; returns the status to answer. 204 means that they are kept. */
function status_of(string $folder): int
{
    if ($_SERVER['REQUEST_METHOD'] !== 'POST') {
        return 405;
    }
    $body = file_get_contents('php://input', length: LONGEST_BODY_BYTES + 1);
    if (strlen($body) > LONGEST_BODY_BYTES) {
        return 413;
    }
    if (!is_genuine($body)) {
        return 401;
    }
    $document = json_decode($body, true);
    if (is_array($document) && ($document['type'] ?? null) === 'notifier.batch') {
        $document = $document['data'] ?? null; // the message that holds the batch, with batch_form = "message"
    }
    $events = $document['events'] ?? $document;
    $events = is_array($events) && array_is_list($events) ? $events : [$events];
    foreach ($events as $event) {
        if (!is_array($event) || !preg_match('/^evt_[a-z2-7]{26}$/D', (string) ($event['id'] ?? ''))) {
            return 400;
        }
    }
    foreach ($events as $event) {
        keep($folder, $event);
    }
    return $events ? 204 : 400;
}

/** Checks the signature of Standard Webhooks, and that the request is not an old one. */
function is_genuine(string $body): bool
{
    $id = $_SERVER['HTTP_WEBHOOK_ID'] ?? '';
    $timestamp = $_SERVER['HTTP_WEBHOOK_TIMESTAMP'] ?? '';
    if (!preg_match('/^[0-9]{1,12}$/D', $timestamp) || abs(time() - (int) $timestamp) > TOLERANCE_SECONDS) {
        return false;
    }
    $key = base64_decode(preg_replace('/^whsec_/', '', (string) getenv('WEBHOOK_SECRET')), true);
    if ($key === false || $key === '') {
        throw new RuntimeException('WEBHOOK_SECRET is not set to a secret, whsec_...');
    }
    $expected = 'v1,' . base64_encode(hash_hmac('sha256', "$id.$timestamp.$body", $key, true));
    foreach (explode(' ', $_SERVER['HTTP_WEBHOOK_SIGNATURE'] ?? '') as $signature) {
        if (hash_equals($expected, $signature)) {
            return true;
        }
    }
    return false;
}

/** Writes an event to its file on the disk, unless it arrived before. */
function keep(string $folder, array $event): void
{
    $file = "$folder/{$event['id']}.json";
    if (file_exists($file) || file_exists(done_of($file))) {
        return;
    }
    $part = "$folder/{$event['id']}." . bin2hex(random_bytes(8)) . '.part';
    $written = fopen($part, 'x');
    if (!$written || fwrite($written, json_encode($event, JSON_THROW_ON_ERROR)) === false || !fsync($written)) {
        throw new RuntimeException("$part cannot be written");
    }
    fclose($written);
    // Unlike a rename, a link fails if the file exists: then another request has brought the same event.
    if (!@link($part, $file) && !file_exists($file) && !file_exists(done_of($file))) {
        throw new RuntimeException("$file cannot be written");
    }
    unlink($part);
}

function done_of(string $file): string
{
    return substr($file, 0, -strlen('.json')) . '.done';
}
