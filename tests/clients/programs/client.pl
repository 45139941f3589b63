# An ordinary Perl application: GET URL/first, then POST a file to URL/second.
use strict;
use warnings;
use HTTP::Tiny;

my ($url, $file) = @ARGV;
open my $handle, '<:raw', $file or die "$file: $!";
my $content = do { local $/; <$handle> };
my $client = HTTP::Tiny->new(verify_SSL => 1);
for my $answer ($client->get("$url/first"), $client->post("$url/second", { content => $content })) {
    print "$answer->{status} $answer->{content}\n";
}
