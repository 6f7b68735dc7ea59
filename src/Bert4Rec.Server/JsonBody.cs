using System.Buffers;
using System.IO.Pipelines;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using Microsoft.AspNetCore.Http;
using Microsoft.Net.Http.Headers;

namespace Bert4Rec.Server;

/// <summary>Reads a request's body, and says in the words of HTTP and JSON what is wrong with it.</summary>
internal static class JsonBody
{
    public const string WrongType = "the body must be JSON in UTF-8: Content-Type: application/json";

    private const string Text = "a string in quotes, of valid Unicode";

    /// <summary>What a member must be, by its name; "" is the body.</summary>
    private static readonly Dictionary<string, string> s_expected = new()
    {
        [""] = "an object",
        ["history"] = "a list of strings",
        ["allow"] = "a list of strings",
        ["deny"] = "a list of strings",
        ["any_of"] = "a list of strings",
        ["filters"] = "a list of objects",
        ["requests"] = "a list of objects",
        ["user"] = Text,
        ["field"] = Text,
        ["k"] = "a whole number",
        ["min"] = "a number",
        ["max"] = "a number",
        ["exclude_seen"] = "true or false",
    };

    /// <summary>Whether a path begins with a member of a request.</summary>
    public static bool IsField(string path) => s_expected.ContainsKey(path.Split('.', '[')[0]);

    /// <exception cref="ProblemException">The body is not JSON, or not of this type, or did not come in time.</exception>
    /// <exception cref="BadHttpRequestException">It is too large, or came too slowly.</exception>
    public static async Task<T> Read<T>(HttpContext context, JsonTypeInfo<T> type)
        where T : class
    {
        if (!MediaTypeHeaderValue.TryParse(context.Request.ContentType, out MediaTypeHeaderValue? media)
            || !media.MediaType.Equals("application/json", StringComparison.OrdinalIgnoreCase)
            || !(media.Charset.Length == 0
                || HeaderUtilities.RemoveQuotes(media.Charset).Equals("utf-8", StringComparison.OrdinalIgnoreCase)))
        {
            throw new ProblemException(StatusCodes.Status415UnsupportedMediaType, WrongType);
        }
        if (context.Request.Headers.ContentEncoding.Count > 0)
        {
            context.Response.Headers.AcceptEncoding = "identity";
            throw new ProblemException(
                StatusCodes.Status415UnsupportedMediaType, "the body must be sent as it is, without Content-Encoding");
        }
        PipeReader reader = context.Request.BodyReader;
        // A read that a token ends would leave the reader in a state that the server cannot go on with.
        using var ending = context.RequestAborted.UnsafeRegister(static reader => ((PipeReader)reader!).CancelPendingRead(), reader);
        while (true)
        {
            ReadResult read = await Next(context, reader);
            if (read.IsCompleted)
            {
                try
                {
                    return Parse(read.Buffer.IsSingleSegment ? read.Buffer.FirstSpan : read.Buffer.ToArray(), type);
                }
                finally
                {
                    reader.AdvanceTo(read.Buffer.End);
                }
            }
            reader.AdvanceTo(read.Buffer.Start, read.Buffer.End);
            if (read.IsCanceled)
                throw new ProblemException(StatusCodes.Status408RequestTimeout, "the body did not arrive in time");
        }
    }

    /// <summary>A client that hangs up, or sends chunks that are none, is no error of the server's.</summary>
    private static async ValueTask<ReadResult> Next(HttpContext context, PipeReader reader)
    {
        try
        {
            return await reader.ReadAsync();
        }
        catch (IOException e) when (e is not BadHttpRequestException)
        {
            // What else comes is not read.
            context.Response.Headers.Connection = "close";
            throw new ProblemException(StatusCodes.Status400BadRequest, $"the body cannot be read: {e.Message}");
        }
    }

    private static T Parse<T>(ReadOnlySpan<byte> body, JsonTypeInfo<T> type)
        where T : class
    {
        try
        {
            return JsonSerializer.Deserialize(body, type)
                ?? throw new ProblemException(StatusCodes.Status400BadRequest, "the body must be an object, not null");
        }
        catch (JsonException e)
        {
            throw Explain(e);
        }
    }

    private static ProblemException Explain(JsonException e)
    {
        string field = e.Path is null or "$" ? "" : e.Path.TrimStart('$').TrimStart('.');
        // Those that begin so name types of ours, which say nothing to a client.
        string detail =
            Is("The JSON property '") ? "unknown member"
            : Is("Duplicate property '") ? "is given twice"
            : Is("The JSON value could not be converted") ? $"must be {Expected(field)}"
            : $"not JSON: {e.Message.Split(" Path: ")[0].TrimEnd('.')} (line {e.LineNumber + 1}, byte {e.BytePositionInLine + 1})";
        return field.Length == 0
            ? new(StatusCodes.Status400BadRequest, $"the body: {detail}")
            : new(StatusCodes.Status400BadRequest, $"{field}: {detail}", field);

        bool Is(string beginning) => e.Message.StartsWith(beginning, StringComparison.Ordinal);
    }

    private static string Expected(string field)
    {
        string list = s_expected.GetValueOrDefault(field.Split('.')[^1].Split('[')[0], "something else");
        return !field.EndsWith(']') ? list : list == "a list of objects" ? "an object" : Text;
    }
}
