// A receiver of Completion Notifier's events in C#, as a minimal API of ASP.NET Core 8 or newer.
//
//     dotnet new web --output receiver && cp csharp_receiver.cs receiver/Program.cs && cd receiver
//     WEBHOOK_SECRET=whsec_... dotnet run --urls http://127.0.0.1:8000
//
// This program writes each event to a file in the folder EVENTS (`<id>.json`) before it answers, and does the work
// afterwards. A file whose work is done is renamed to `<id>.done`. These files are kept, so that an event that arrives
// again is recognised.

using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using System.Text.RegularExpressions;
using System.Threading.Channels;

const int ToleranceSeconds = 300;
const long LongestBodyBytes = 32 * 1024 * 1024;
const int RetrySeconds = 60;

var secret = Environment.GetEnvironmentVariable("WEBHOOK_SECRET")
    ?? throw new InvalidOperationException("WEBHOOK_SECRET is not set to a secret, whsec_...");
var encoded = (secret.StartsWith("whsec_") ? secret["whsec_".Length..] : secret).TrimEnd('=');
var key = Convert.FromBase64String(encoded + new string('=', (4 - encoded.Length % 4) % 4));
var folder = Environment.GetEnvironmentVariable("EVENTS") ?? "events";
Directory.CreateDirectory(folder);
var toDo = Channel.CreateUnbounded<string>();
foreach (var file in Directory.GetFiles(folder, "*.json").Order())
{
    toDo.Writer.TryWrite(file); // what an earlier run has accepted and not finished
}

var builder = WebApplication.CreateBuilder(args);
builder.WebHost.ConfigureKestrel(options => options.Limits.MaxRequestBodySize = LongestBodyBytes);
var app = builder.Build();

_ = Task.Run(async () =>
{
    await foreach (var file in toDo.Reader.ReadAllAsync())
    {
        try
        {
            var done = Path.ChangeExtension(file, ".done");
            if (File.Exists(done))
            {
                File.Delete(file); // the event arrived again and was kept just after it was done
                continue;
            }
            Work(JsonDocument.Parse(File.ReadAllBytes(file)).RootElement);
            File.Move(file, done);
        }
        catch (Exception error)
        {
            app.Logger.LogError(error, "{File} is tried again in {Seconds} seconds", file, RetrySeconds);
            _ = Task.Delay(TimeSpan.FromSeconds(RetrySeconds)).ContinueWith(_ => toDo.Writer.TryWrite(file));
        }
    }
});

// Accepts events. 204 means that they are kept.
app.MapPost("/{*path}", async (HttpRequest request) =>
{
    using var buffer = new MemoryStream();
    await request.Body.CopyToAsync(buffer);
    var body = buffer.ToArray();
    if (!IsGenuine(request.Headers, body))
    {
        return Results.StatusCode(401);
    }
    List<JsonElement> events;
    try
    {
        events = EventsIn(JsonDocument.Parse(body).RootElement);
    }
    catch (JsonException)
    {
        return Results.StatusCode(400);
    }
    if (events.Count == 0 || !events.All(one => IdOf(one) is not null))
    {
        return Results.StatusCode(400);
    }
    foreach (var one in events)
    {
        var file = Path.Combine(folder, $"{IdOf(one)}.json");
        if (Keep(file, one))
        {
            toDo.Writer.TryWrite(file);
        }
    }
    return Results.StatusCode(204);
});
app.Run();

// Does the work for an event. After a crash, it may be done again for the same event: it must be safe to repeat.
static void Work(JsonElement one) =>
    Console.WriteLine($"received {one.GetProperty("type")} {one.GetProperty("id")}"); // replace this

// Returns whether the request has a valid signature (Standard Webhooks) and is recent.
bool IsGenuine(IHeaderDictionary headers, byte[] body)
{
    var timestamp = headers["webhook-timestamp"].ToString();
    if (!Regex.IsMatch(timestamp, @"\A[0-9]{1,12}\z")
        || Math.Abs(DateTimeOffset.UtcNow.ToUnixTimeSeconds() - long.Parse(timestamp)) > ToleranceSeconds)
    {
        return false;
    }
    var content = Encoding.UTF8.GetBytes($"{headers["webhook-id"]}.{timestamp}.").Concat(body).ToArray();
    var expected = Encoding.UTF8.GetBytes("v1," + Convert.ToBase64String(HMACSHA256.HashData(key, content)));
    return headers["webhook-signature"].ToString().Split(' ')
        .Any(one => CryptographicOperations.FixedTimeEquals(expected, Encoding.UTF8.GetBytes(one)));
}

// Returns the events in a body: one event, an array of events, or the array `events` of an object. A
// message (`notifier.batch`) has this object in `data`.
static List<JsonElement> EventsIn(JsonElement document)
{
    if (document.ValueKind == JsonValueKind.Object
        && document.TryGetProperty("type", out var type)
        && type.ValueKind == JsonValueKind.String
        && type.GetString() == "notifier.batch"
        && document.TryGetProperty("data", out var data))
    {
        document = data;
    }
    if (document.ValueKind == JsonValueKind.Object && document.TryGetProperty("events", out var events))
    {
        document = events;
    }
    return document.ValueKind == JsonValueKind.Array ? document.EnumerateArray().ToList() : [document];
}

// Returns the id of an event; null if it has none.
static string? IdOf(JsonElement one) =>
    one.ValueKind == JsonValueKind.Object
    && one.TryGetProperty("id", out var id)
    && id.ValueKind == JsonValueKind.String
    && Regex.IsMatch(id.GetString()!, @"\Aevt_[a-z2-7]{26}\z")
        ? id.GetString()
        : null;

// Writes an event to its file on the disk, and returns whether it is new.
static bool Keep(string file, JsonElement one)
{
    if (File.Exists(file) || File.Exists(Path.ChangeExtension(file, ".done")))
    {
        return false;
    }
    var part = $"{file}.{Guid.NewGuid():N}.part";
    using (var written = new FileStream(part, FileMode.CreateNew))
    {
        written.Write(Encoding.UTF8.GetBytes(one.GetRawText()));
        written.Flush(flushToDisk: true);
    }
    try
    {
        File.Move(part, file, overwrite: false);
        return true;
    }
    catch (IOException) when (File.Exists(file))
    {
        File.Delete(part); // another request has brought the same event
        return false;
    }
}
