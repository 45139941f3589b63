<?php
// An ordinary PHP application: GET URL/first, then POST a file to URL/second.
[, $url, $file] = $argv;

function ask(string $url, ?string $body = null): string
{
    $curl = curl_init($url);
    curl_setopt($curl, CURLOPT_RETURNTRANSFER, true);
    if ($body !== null) {
        curl_setopt($curl, CURLOPT_POSTFIELDS, $body);
    }
    $answer = curl_exec($curl);
    if ($answer === false) {
        fwrite(STDERR, curl_error($curl) . "\n");
        exit(1);
    }
    return curl_getinfo($curl, CURLINFO_RESPONSE_CODE) . " $answer\n";
}

echo ask("$url/first"), ask("$url/second", file_get_contents($file));
